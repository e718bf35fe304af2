"""Networks of users, as ``module:function`` names them."""

import torch
from torch import nn


def user_network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(8, outputs),
    )


def without_dropout(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs)


class _Noisy(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(x), 0.1, self.training)


class _Branching(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return -y if y.sum().item() > 100 else y


def noisy_network(inputs: int, outputs: int) -> nn.Module:
    return _Noisy(nn.Dropout(0.5), nn.Linear(inputs, outputs))


def branching_network(inputs: int, outputs: int) -> nn.Module:
    return _Branching(nn.Dropout(0.5), nn.Linear(inputs, outputs))


def wrong_shape(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(inputs, 3))
