"""Networks of one's own with dropout in many places, and an input of each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import thinned


class NetworkCase(NamedTuple):
    """A function that builds a network, and its arguments."""

    build: Callable[[], nn.Module]
    args: tuple[torch.Tensor, ...] = ()
    kwargs: Mapping[str, torch.Tensor] = {}


class Convolutional(nn.Module):
    """Element-wise and spatial dropout of feature maps, a functional one, and one between linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.drop1 = nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.1)
        self.conv2, self.drop2 = nn.Conv2d(4, 8, 3, padding=1), nn.Dropout2d(0.2)
        self.linear, self.drop3, self.output = nn.Linear(32, 16), nn.Dropout(0.5), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop1(F.max_pool2d(self.conv1(x).relu(), 2))
        x = self.drop2(self.conv2(x).relu())
        x = F.dropout(F.adaptive_avg_pool2d(x, 2).flatten(1), 0.3, self.training)
        return self.output(self.drop3(self.linear(x).relu()))


class Sequence(nn.Module):
    """Dropout after an embedding, within an LSTM, and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.drop1 = nn.Embedding(20, 6), nn.Dropout(0.1)
        self.lstm = nn.LSTM(6, 8, num_layers=3, dropout=0.2, batch_first=True)
        self.drop2, self.locked = nn.Dropout(0.3), thinned.LockedDropout(0.3, time_dim=1)
        self.output = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.drop1(self.embedding(x)))
        return self.output(self.locked(self.drop2(x))[:, -1])


class Transformer(nn.Module):
    """An encoder of torch's behind embeddings with positions, a branch with a drop path, and a head with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(20, 8), nn.Parameter(torch.zeros(5, 8))
        self.drop = nn.Dropout(0.1)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True), 2)
        self.branch, self.path = nn.Linear(8, 8), thinned.DropPath(0.2)
        self.norm, self.head_drop, self.output = nn.LayerNorm(8), nn.Dropout(0.4), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(self.drop(self.embedding(x) + self.positions))
        x = x + self.path(self.branch(x))
        return self.output(self.head_drop(self.norm(x).mean(1)))


class Patches(nn.Module):
    """A vision transformer with attention written out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.drop = nn.Conv2d(3, 8, 4, 4), nn.Dropout(0.1)
        self.projection, self.attention_drop, self.output = nn.Linear(8, 24), nn.Dropout(0.1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.patches(x).flatten(2).transpose(1, 2))
        query, key, value = self.projection(x).chunk(3, -1)
        weights = self.attention_drop((query @ key.transpose(-1, -2)).softmax(-1))
        return self.output((x + weights @ value).mean(1))


class Functional(nn.Module):
    """Functional dropout alone, and one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 2)
        self.drop = nn.Dropout(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.first(x).relu(), 0.25, self.training)
        x = self.drop(F.dropout(self.second(self.drop(x)).relu(), p=0.25, training=self.training))
        return self.third(x)


def bert(attention: str) -> nn.Module:
    """A tiny BERT with random weights."""
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=32, max_position_embeddings=16, num_labels=3)
    config._attn_implementation = attention
    return transformers.BertForSequenceClassification(config)


_TOKENS = torch.arange(14).view(2, 7)
CASES: Mapping[str, NetworkCase] = {
    "convolutional": NetworkCase(Convolutional, (torch.linspace(-1, 1, 128).view(2, 1, 8, 8),)),
    "sequence": NetworkCase(Sequence, (torch.arange(10).view(2, 5),)),
    "transformer": NetworkCase(Transformer, (torch.arange(10).view(2, 5),)),
    "patches": NetworkCase(Patches, (torch.linspace(-1, 1, 384).view(2, 3, 8, 8),)),
    "functional": NetworkCase(Functional, (torch.linspace(-1, 1, 8).view(2, 4),)),
}
TRANSFORMERS: Mapping[str, NetworkCase] = {
    attention: NetworkCase(
        lambda attention=attention: bert(attention),  # type: ignore[misc]
        kwargs={"input_ids": _TOKENS, "attention_mask": torch.ones_like(_TOKENS)},
    )
    for attention in ("sdpa", "eager")
}


def output(network: nn.Module, case: NetworkCase) -> torch.Tensor:
    """The network's output as one tensor."""
    result = network(*case.args, **case.kwargs)
    return result if isinstance(result, torch.Tensor) else result.logits
