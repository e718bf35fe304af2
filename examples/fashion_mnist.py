"""A convolutional network on Fashion-MNIST: 10,000 training examples of the 60,000, and the given test set."""

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import nn

from thinned.errors import InputError, sentence

#: where Debian's package dataset-fashion-mnist puts the files
FOLDER = Path("/usr/share/datasets/fashion-mnist")
_TRAINING_EXAMPLES = 10_000


def examples(
    training: int = _TRAINING_EXAMPLES,
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The first training examples and the 10,000 test examples.

    Images are ``(N, 1, 28, 28)`` in [0, 1]; there are ten kinds of clothes.

    Args:
        training: the number of training examples, at most 60,000.

    Raises:
        InputError: the files are not installed.
    """
    if not FOLDER.exists():
        remedy = "install them: apt-get install dataset-fashion-mnist"
        raise InputError(sentence("Fashion-MNIST must be installed", f"there is no {FOLDER}", remedy))
    x, y = _read("train")
    return (x[:training], y[:training]), _read("t10k")


def network() -> nn.Module:
    """Two convolutions and two linear layers, with dropout on the feature maps and on the hidden layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )


def _read(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and classes of "train" or "t10k"; a file has a header of 16 or 8 bytes, then a byte for each value."""
    images = gzip.decompress((FOLDER / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FOLDER / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = np.frombuffer(images, np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(x), torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64))
