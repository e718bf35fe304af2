"""Small models with one planted dropout mistake each, and correct twins that differ from them in nothing else."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import thinned

BATCH, STEPS, FEATURES, CHANNELS, SIZE = 8, 5, 12, 6, 9  # the last is the side of an image


class Case(NamedTuple):
    code: str
    name: str
    build: Callable[[bool], nn.Module]  # with the mistake, or without it
    x: torch.Tensor
    options: Callable[[bool], dict[str, Any]] = lambda _: {}

    def codes(self, wrong: bool) -> set[str]:
        """Codes of the errors and warnings of the model with the mistake, or without it."""
        torch.manual_seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own of a one-layer LSTM
            model = self.build(wrong)
        result = thinned.audit(model, self.x, **self.options(wrong))
        return {finding.code for finding in result.with_severity("error", "warning")}


def check_twins(case: Case) -> None:
    """The mistake has its code and no other, and the twin has none."""
    assert case.codes(wrong=True) == {case.code}
    assert case.codes(wrong=False) == set()


class Body(nn.Module):
    """Parts, and a function as forward."""

    def __init__(self, body: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.body = body
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self, x)


class Net(nn.Module):
    """TD101, TD203, TD204 and TD301, one of each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 6, 3), nn.Dropout(0.3), nn.Linear(6, 4)
        self.dead, self.vector = nn.Dropout(0.4), nn.Dropout1d(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.drop(self.conv(x).relu()).mean((2, 3)) @ torch.eye(6), 0.5)
        return self.head(self.vector((x @ torch.eye(6)).relu()))


VECTOR, SEQUENCE, IMAGE = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in
                           ((BATCH, FEATURES), (BATCH, STEPS, FEATURES), (BATCH, 3, SIZE, SIZE)))  # fmt: skip


def mlp(site: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), site, nn.Linear(16, 3))


def cnn(site: nn.Module) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3))
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        site,
        nn.Conv2d(CHANNELS, CHANNELS, 3),
        nn.ReLU(),
        *head,
    )


def recurrent(site: nn.Module) -> nn.Module:
    return Body(
        lambda m, x: m.head(m.site(m.lstm(x)[0].relu()).mean(1)),
        lstm=nn.LSTM(FEATURES, 16, 2, dropout=0.1, batch_first=True), site=site, head=nn.Linear(16, 3),
    )  # fmt: skip


def transformer(site: nn.Module) -> nn.Module:
    layer = nn.TransformerEncoderLayer(FEATURES, 2, 16, dropout=0.1, batch_first=True)
    return Body(lambda m, x: m.head(m.site(m.layer(x)).mean(1)), layer=layer, site=site, head=nn.Linear(FEATURES, 3))


HOSTS = {
    "mlp": (mlp, VECTOR),
    "cnn": (cnn, IMAGE),
    "rnn": (recurrent, SEQUENCE),
    "transformer": (transformer, SEQUENCE),
}
FLAT = {name: host for name, host in HOSTS.items() if name != "cnn"}
RATES = (0.1, 0.25, 0.5)


def in_hosts(
    code: str, sites: dict[str, Callable[[bool, float], nn.Module]], hosts: Any = HOSTS, rates: Any = RATES
) -> Iterator[Case]:
    for (kind, site), (name, (host, x)), p in itertools.product(sites.items(), hosts.items(), rates):
        yield Case(code, f"{kind}-{name}-{p}", lambda wrong, s=site, h=host, r=p: h(s(wrong, r)), x)


def attention(self: Any, x: torch.Tensor, p: float) -> torch.Tensor:
    y = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x if x.ndim == 3 else x.unsqueeze(1)
    z = F.scaled_dot_product_attention(y, y, y, dropout_p=p)
    return z.transpose(1, 2).reshape(x.shape) if x.ndim == 4 else z.reshape(x.shape)


#: a file with mistakes, each on a line that names its code
SOURCE = """
import torch
import torch.nn as tnn
from torch.nn import functional as fun, Dropout
from torch.nn.functional import dropout as drop
from torch.utils.checkpoint import checkpoint
from paddle.nn import functional as F

KEEP = 0.9

class Net(tnn.Module):
    def __init__(self, p, rate=0.75):
        self.used, self.lstm = Dropout(p), None
        self.dead = Dropout(0.3)  # TD301
        self.placeholder = Dropout(0.0)
        self.keep = tnn.Dropout2d(0.9)  # TD304
        self.high = Dropout(p=0.8)  # TD303
        self.lstm = tnn.LSTM(3, 4, dropout=0.5)  # TD302
        self.deep = tnn.LSTM(3, 4, 2, dropout=0.5)
        self.named = Dropout(KEEP)  # TD304
        self.inverse = Dropout(1 - KEEP)
        self.default = Dropout(rate)  # TD303

    def forward(self, x):
        x = fun.dropout(x, 0.5)  # TD101
        x = drop(x, self.p, True)  # TD101
        x = fun.dropout(x, 0.5, self.training)
        x = fun.dropout(x, 0.5 if self.training else 0.0)
        x = F.dropout(x, 0.5)
        if self.training:
            x = fun.dropout(x, 0.5)
        x = drop(x) if self.training else x
        x = self.training and drop(x)
        x = tnn.Dropout(0.1)(x)  # TD103
        torch.manual_seed(0)  # TD401
        x = checkpoint(self.used, x, preserve_rng_state=False)  # TD402
        rate = self.p if self.training else 0
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=rate)
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=self.p)  # TD101
        x = fun.scaled_dot_product_attention(x, x, x, None, 0.0)
        x = fun.dropout(x, 0.5)  # TD101 thinned: ignore
        x = self.named(self.inverse(self.default(x)))
        return self.keep(self.high(self.lstm(self.deep(self.placeholder(x)))))

    def early(self, x):
        if not self.training:
            return x
        return fun.dropout(x)

def helper(x, p):
    return fun.dropout(x, p)
"""
