"""A convolutional network on scikit-learn's digits: 1,797 images of 8 × 8 pixels, ten classes."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """The images, ``(1797, 1, 8, 8)`` in [0, 1], and their digits."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)


def network() -> nn.Module:
    """Two convolutions and two linear layers, with dropout on the feature maps and on the hidden layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )
