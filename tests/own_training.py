"""Training functions of users, for tests."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from thinned import TrainingRun


def train(network: nn.Module, run: TrainingRun, epochs: int = 3) -> None:
    """A loop as one writes it: its order comes from torch's default generator."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=run.weight_decay)
    for epoch in range(epochs):
        network.train()
        for x, y in DataLoader(run.training, batch_size=8, shuffle=True):  # type: ignore[var-annotated]
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
        network.eval()
        run.report(epoch + 1, float(losses(network, run.validation).mean()))


@torch.no_grad()
def losses(network: nn.Module, dataset: torch.utils.data.Dataset[object]) -> torch.Tensor:
    """Loss of each example."""
    batches = DataLoader(dataset, batch_size=16)
    return torch.cat([F.cross_entropy(network(x), y, reduction="none") for x, y in batches])
