"""Small models with one planted dropout mistake each, and correct twins that differ from them in nothing else."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

N, T, E, C, S = 8, 5, 12, 6, 9  # batch, time, features, channels, size of an image


class Case(NamedTuple):
    code: str
    name: str
    build: Callable[[bool], nn.Module]  # with the mistake, or without it
    x: torch.Tensor
    options: Callable[[bool], dict[str, Any]] = lambda _: {}


class Body(nn.Module):
    """Parts, and a function as forward."""

    def __init__(self, body: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.body = body
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self, x)


VECTOR, SEQUENCE, IMAGE = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in
                           ((N, E), (N, T, E), (N, 3, S, S)))  # fmt: skip


def mlp(site: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(E, 16), nn.ReLU(), site, nn.Linear(16, 3))


def cnn(site: nn.Module) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 3))
    return nn.Sequential(nn.Conv2d(3, C, 3), nn.BatchNorm2d(C), nn.ReLU(), site, nn.Conv2d(C, C, 3), nn.ReLU(), *head)


def recurrent(site: nn.Module) -> nn.Module:
    return Body(
        lambda m, x: m.head(m.site(m.lstm(x)[0].relu()).mean(1)),
        lstm=nn.LSTM(E, 16, 2, dropout=0.1, batch_first=True), site=site, head=nn.Linear(16, 3),
    )  # fmt: skip


def transformer(site: nn.Module) -> nn.Module:
    layer = nn.TransformerEncoderLayer(E, 2, 16, dropout=0.1, batch_first=True)
    return Body(lambda m, x: m.head(m.site(m.layer(x)).mean(1)), layer=layer, site=site, head=nn.Linear(E, 3))


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


def active_in_evaluation() -> Iterator[Case]:
    yield from in_hosts(
        "TD101",
        {
            "functional": lambda wrong, p: Body(lambda m, x: F.dropout(x, p, training=wrong or m.training)),
            "default": lambda wrong, p: Body(lambda m, x: F.dropout(x, p) if wrong or m.training else x),
            "sdpa": lambda wrong, p: Body(lambda m, x: attention(m, x, p if wrong or m.training else 0.0)),
        },
        rates=(0.2, 0.5),
    )
    for p in (0.2, 0.5):

        def kept(wrong: bool, r: float = p) -> nn.Module:
            return mlp(Body(lambda m, x: m.kept[0](x), kept=(list if wrong else nn.ModuleList)([nn.Dropout(r)])))

        yield Case("TD101", f"unregistered-{p}", kept, VECTOR)
    for p in (0.2, 0.5):

        class Stubborn(nn.LSTM):
            wrong = True

            def train(self, mode: bool = True) -> nn.Module:
                return super().train(mode or self.wrong)

        def build(wrong: bool, r: float = p, cls: type = Stubborn) -> nn.Module:
            lstm = cls(E, 8, 2, dropout=r, batch_first=True)
            lstm.wrong = wrong
            return Body(lambda m, x: m.head(m.lstm(x)[0][:, -1]), lstm=lstm, head=nn.Linear(8, 3))

        yield Case("TD101", f"lstm-{p}", build, SEQUENCE)


def scripted_dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    return torch.nn.functional.dropout(x, p, training)


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    SCRIPTED = torch.jit.script(scripted_dropout)


def _numpy(x: torch.Tensor, p: float) -> torch.Tensor:
    return x * torch.as_tensor(np.random.random_sample(tuple(x.shape)) >= p, dtype=x.dtype) / (1 - p)  # noqa: NPY002


def hidden_masks() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(3)

    def own(x: torch.Tensor, p: float) -> torch.Tensor:
        return x * (torch.rand(x.shape, generator=generator) >= p) / (1 - p)

    def bernoulli(x: torch.Tensor, p: float) -> torch.Tensor:
        return x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p)

    def gated(mask: Callable[[torch.Tensor, float], torch.Tensor]) -> Callable[[bool, float], nn.Module]:
        return lambda wrong, p: Body(lambda m, x: mask(x, p) if wrong or m.training else x)

    sites = {"numpy": gated(_numpy), "generator": gated(own), "bernoulli": gated(bernoulli)}
    sites["script"] = lambda wrong, p: Body(lambda m, x: SCRIPTED(x, p, wrong or m.training))
    yield from in_hosts("TD102", sites, rates=(0.3,))


def built_in_forward() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: nn.Dropout(p)(x)) if wrong else Body(lambda m, x: m.drop(x), drop=nn.Dropout(p))

    def assigned(wrong: bool, p: float) -> nn.Module:
        def body(m: Any, x: torch.Tensor) -> torch.Tensor:
            if wrong:
                m.drop = nn.Dropout(p)
            return m.drop(x)

        return Body(body, drop=nn.Dropout(p)) if not wrong else Body(body)

    yield from in_hosts("TD103", {"called": site, "assigned": assigned}, rates=(0.2, 0.5))


def asleep() -> Iterator[Case]:
    for (name, (host, x)), p in itertools.product(HOSTS.items(), RATES):

        def build(wrong: bool, h: Any = host, r: float = p) -> nn.Module:
            model = h(nn.Dropout(r)).train()
            site = next(m for m in model.modules() if type(m) is nn.Dropout and m.p == r)
            return (site.train(not wrong), model)[1]

        yield Case("TD104", f"{name}-{p}", build, x)

    def frozen(wrong: bool) -> nn.Module:
        model = nn.Sequential(mlp(nn.Dropout(0.3)), nn.ReLU(), nn.Linear(3, 2)).train()
        model[0].eval().requires_grad_(wrong)
        return model

    yield Case("TD104", "frozen", frozen, VECTOR)


def on_output() -> Iterator[Case]:
    ends = {
        "linear": lambda d, h: nn.Sequential(h, d),
        "softmax": lambda d, h: nn.Sequential(h, d, nn.Softmax(-1)),
        "log_softmax": lambda d, h: Body(lambda m, x: F.log_softmax(m.drop(m.head(x)), -1), drop=d, head=h),
        "loss": lambda d, h: Body(
            lambda m, x: F.cross_entropy(m.drop(m.head(x)), torch.zeros(N, dtype=torch.long)), drop=d, head=h
        ),
    }
    for (kind, end), (name, (host, x)) in itertools.product(ends.items(), HOSTS.items()):

        def ended(wrong: bool, e: Any = end, h: Any = host) -> nn.Module:
            drop, other = nn.Dropout(0.2), nn.Identity()
            return e(drop, h(other)) if wrong else e(other, h(drop))

        yield Case("TD201", f"{kind}-{name}", ended, x)


def before_batch_norm() -> Iterator[Case]:
    for p in (0.3, 0.5):

        def conv(*parts: nn.Module) -> nn.Module:
            return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 3))

        def order(wrong: bool, *between: nn.Module, r: float = p) -> nn.Module:
            drop, norm = nn.Dropout2d(r), nn.BatchNorm2d(C)
            return conv(nn.Conv2d(3, C, 3), *((drop, *between, norm) if wrong else (norm, *between, drop)))

        def residual(wrong: bool, r: float = p) -> nn.Module:
            body = lambda m, x: m.norm(x + m.drop(x)) if wrong else x + m.drop(m.norm(x))  # noqa: E731
            return conv(nn.Conv2d(3, C, 3), Body(body, drop=nn.Dropout2d(r), norm=nn.BatchNorm2d(C)))

        def joined(wrong: bool, r: float = p) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                return m.norm(torch.cat([m.drop(x), x], 1)) if wrong else m.drop(m.norm(torch.cat([x, x], 1)))

            parts = (Body(body, drop=nn.Dropout2d(r), norm=nn.BatchNorm2d(2 * C)), nn.Conv2d(2 * C, C, 1))
            return conv(nn.Conv2d(3, C, 3), *parts)

        def dense(wrong: bool, r: float = p) -> nn.Module:
            drop, norm = nn.Dropout(r), nn.BatchNorm1d(16)
            return nn.Sequential(
                nn.Linear(E, 16), *((drop, norm) if wrong else (norm, drop)), nn.ReLU(), nn.Linear(16, 3)
            )

        yield Case("TD202", f"direct-{p}", order, IMAGE)
        yield Case("TD202", f"relu-{p}", lambda wrong, f=order: f(wrong, nn.ReLU()), IMAGE)
        yield Case("TD202", f"pool-{p}", lambda wrong, f=order: f(wrong, nn.MaxPool2d(2)), IMAGE)
        yield Case("TD202", f"gelu-pool-{p}", lambda wrong, f=order: f(wrong, nn.GELU(), nn.MaxPool2d(2)), IMAGE)
        yield Case("TD202", f"residual-{p}", residual, IMAGE)
        yield Case("TD202", f"concatenated-{p}", joined, IMAGE)
        yield Case("TD202", f"dense-{p}", dense, VECTOR)


def wrong_dimension() -> Iterator[Case]:
    def linear(cls: Callable[[float], nn.Module], right: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: mlp((cls if wrong else right)(p))

    def sequence(cls: Callable[[float], nn.Module], p: float, first: nn.Module) -> Any:
        def build(wrong: bool) -> nn.Module:
            body = lambda m, x: m.head(m.drop(m.first(x)).mean(1))  # noqa: E731
            return Body(body, first=first, drop=(cls if wrong else nn.Dropout)(p), head=nn.Linear(16, 3))

        return build

    def image(cls: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: cnn((cls if wrong else nn.Dropout2d)(p))

    def signal(cls: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: nn.Sequential(
            nn.Conv1d(T, C, 3),
            nn.ReLU(),
            (cls if wrong else nn.Dropout1d)(p),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(C, 3),
        )

    def last(wrong: bool) -> nn.Module:
        body = lambda m, x: m.head(m.drop(m.first(x.permute(0, 2, 3, 1))).mean((1, 2)))  # noqa: E731
        drop = (nn.Dropout2d if wrong else nn.Dropout)(0.2)
        return Body(body, first=nn.Sequential(nn.Linear(3, C), nn.ReLU()), drop=drop, head=nn.Linear(C, 2))

    for p in (0.2, 0.4):
        yield Case("TD204", f"1d-on-vectors-{p}", linear(nn.Dropout1d, nn.Dropout, p), VECTOR)
        yield Case("TD204", f"2d-on-vectors-{p}", linear(nn.Dropout2d, nn.Dropout, p), VECTOR)
        yield Case("TD204", f"3d-on-images-{p}", image(nn.Dropout3d, p), IMAGE)
        yield Case("TD204", f"2d-on-signals-{p}", signal(nn.Dropout2d, p), SEQUENCE)
        yield Case("TD204", f"1d-on-words-{p}", sequence(nn.Dropout1d, p, nn.Linear(E, 16)), SEQUENCE)
        yield Case("TD204", f"2d-on-words-{p}", sequence(nn.Dropout2d, p, nn.Linear(E, 16)), SEQUENCE)
    yield Case("TD204", "2d-channels-last", last, IMAGE)


class DropPath(nn.Module):
    """Stochastic depth over the axes that it is told."""

    def __init__(self, p: float, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.drop_prob, self.axes = p, axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(x.shape)]
        return x * (torch.rand(shape) >= self.drop_prob) / (1 - self.drop_prob)


def drop_path_axis() -> Iterator[Case]:
    for p, axes in itertools.product((0.2, 0.4), ((1,), (2,), (0, 1), (0, 1, 2))):

        def build(wrong: bool, r: float = p, along: tuple[int, ...] = axes) -> nn.Module:
            path = DropPath(r, along if wrong else (0,))
            return Body(
                lambda m, x: m.head((x + m.path(m.layer(x))).mean(1)),
                path=path,
                layer=nn.Linear(E, E),
                head=nn.Linear(E, 3),
            )

        yield Case("TD205", f"{axes}-{p}", build, SEQUENCE)
    for p in (0.1, 0.2, 0.3, 0.5):

        def moved(wrong: bool, r: float = p) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                y = x.transpose(0, 1) if wrong else x
                y = y + m.path(m.layer(y))
                return m.head(y.mean(0 if wrong else 1))

            return Body(body, path=DropPath(r, (0,)), layer=nn.Linear(E, E), head=nn.Linear(E, 3))

        yield Case("TD205", f"time-first-{p}", moved, SEQUENCE)


def compounded() -> Iterator[Case]:
    betweens: dict[str, Callable[[int], nn.Module]] = {
        "nothing": lambda _: nn.Identity(), "relu": lambda _: nn.ReLU(), "gelu": lambda _: nn.GELU(),
        "view": lambda _: Body(lambda m, x: x.unsqueeze(1).squeeze(1)), "tanh": lambda _: nn.Tanh(),
    }  # fmt: skip
    for (kind, between), p in itertools.product(betweens.items(), (0.2, 0.4)):

        def pair(wrong: bool, b: Any = between, r: float = p) -> nn.Module:
            weight = [] if wrong else [nn.Linear(16, 16)]
            return mlp(nn.Sequential(nn.Dropout(r), b(16), *weight, nn.Dropout(r)))

        yield Case("TD206", f"{kind}-{p}", pair, VECTOR)
    for p in (0.1, 0.2, 0.3):

        def two(wrong: bool, r: float = p) -> nn.Module:
            return mlp(Body(lambda m, x: m.drop(F.dropout(x, r if wrong else 0.0, m.training)), drop=nn.Dropout(r)))

        yield Case("TD206", f"functional-{p}", two, VECTOR)


def never_applied() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: x.relu() if wrong else m.drop(x.relu()), drop=nn.Dropout(p))

    yield from in_hosts("TD301", {"module": site}, rates=(0.15, 0.3))
    yield from in_hosts(
        "TD301",
        {"off": lambda wrong, p: Body(lambda m, x: F.dropout(x, p, training=not wrong and m.training))},
        rates=(0.3,),
    )

    def by_rate(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: attention(m, x, m.drop.p if m.training and not wrong else 0.0), drop=nn.Dropout(p))

    yield from in_hosts("TD301", {"rate": by_rate}, FLAT, (0.35,))


def one_layer() -> Iterator[Case]:
    for cls, p, bidirectional in itertools.product((nn.LSTM, nn.GRU, nn.RNN), (0.2, 0.5), (False, True)):

        def build(wrong: bool, c: Any = cls, r: float = p, both: bool = bidirectional) -> nn.Module:
            layers = c(E, 8, 1 if wrong else 2, dropout=r, batch_first=True, bidirectional=both)
            return Body(lambda m, x: m.head(m.layers(x)[0].mean(1)), layers=layers, head=nn.Linear(8 * (1 + both), 3))

        yield Case("TD302", f"{cls.__name__}-{p}-{bidirectional}", build, SEQUENCE)


def rates() -> Iterator[Case]:
    for code, chosen in (("TD303", (0.75, 0.8, 0.84)), ("TD304", (0.85, 0.9, 0.95))):
        yield from in_hosts(code, {"rate": lambda wrong, p: nn.Dropout(p if wrong else 1 - p)}, rates=chosen)


def few_rows() -> Iterator[Case]:
    for (name, (host, x)), rows in itertools.product(HOSTS.items(), (50, 200, 500)):
        yield Case(
            "TD307", f"{name}-{rows}", lambda _, h=host: h(nn.Dropout(0.4)), x,
            lambda wrong, n=rows: {"rows": n if wrong else 100 * n},
        )  # fmt: skip


def seed_reset() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        def body(m: Any, x: torch.Tensor) -> torch.Tensor:
            if wrong:
                torch.manual_seed(0)
            else:
                with torch.random.fork_rng():
                    torch.manual_seed(0)
            return m.drop(x)

        return Body(body, drop=nn.Dropout(p))

    yield from in_hosts("TD401", {"seed": site})


def checkpointed() -> Iterator[Case]:
    def using(reentrant: bool) -> Callable[[bool, float], nn.Module]:
        def site(wrong: bool, p: float) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                return checkpoint(m.drop, x, use_reentrant=reentrant, preserve_rng_state=not wrong)

            return Body(body, drop=nn.Dropout(p))

        return site

    yield from in_hosts("TD402", {"reentrant": using(True), "hooks": using(False)}, rates=(0.2, 0.5))


def corpus() -> list[Case]:
    makers = (
        active_in_evaluation,
        hidden_masks,
        built_in_forward,
        asleep,
        on_output,
        before_batch_norm,
        wrong_dimension,
    )
    makers += (drop_path_axis, compounded, never_applied, one_layer, rates, few_rows, seed_reset, checkpointed)
    return [case for maker in makers for case in maker()]
