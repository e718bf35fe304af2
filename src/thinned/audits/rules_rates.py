"""TD3xx: dropout that is configured and does nothing, or at a rate that was hardly meant."""

import re
from collections.abc import Iterator

from torch import nn

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.passes import Observation, rate_of
from thinned.audits.observation.recorder import Seen, is_drop_path
from thinned.audits.rules import Rule, call_of, first_of_each, is_dropout_module

__all__ = ["AllZero", "FewRows", "HighRate", "KeepRate", "NeverApplied", "OneLayerRecurrent", "SharedInstance"]

_ATTRIBUTE = re.compile(r"drop")
_NOT_A_RATE = re.compile(r"path|layer|block|proj|stochastic|_rate$|edge|node|token|p_drop_")
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


class NeverApplied(Rule):
    """Dropout that is configured but never applied."""

    code = "TD301"
    severities = ("warning", "info")
    why = "The rate that was asked for changes nothing"
    source = "transformers issue 29140; MONAI issue 4844; Informer2020 issue 97"
    wrong = "self.drop = nn.Dropout(0.5)  # in __init__, and not in forward"
    right = "x = self.drop(x)  # in forward"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """The module around a dropout ran, the dropout did not, and no call there had its rate."""
        for path, module in seen.modules.items():
            kind = is_dropout_module(module) or is_drop_path(module)
            if kind and not is_dropout_called(path, seen) and rate_of(module) > 0:
                severity: Severity = "info" if is_drop_path(module) else "warning"
                known = f"{type(module).__name__} with p={rate_of(module):g}"
                text = f"{known} was never called, though {_around(path, seen) or 'the model'} ran"
                fix = f"call self.{path.rpartition('.')[2]} in forward, or remove it"
                yield self.finding(severity, path, module, text, fix, p=rate_of(module))
            elif not kind and seen.called.get(path):
                yield from self._attributes(path, module, seen)
        off = [
            w
            for w in seen.train
            if w.site.p > 0 and not w.site.active and w.site.kind == "functional" and w.module.training
        ]
        for what, _ in first_of_each(off):
            fix = f"F.{what.site.op}(x, {what.site.p:g}, training=self.training)"
            yield self.at("warning", what, f"{call_of(what)} is called with training=False while the model trains", fix)

    def _attributes(self, path: str, module: nn.Module, seen: Observation) -> Iterator[Finding]:
        for name, p in vars(module).items():
            if not _ATTRIBUTE.search(name) or _NOT_A_RATE.search(name) or not isinstance(p, float) or not 0 < p < 1:
                continue
            inside = f"{path}." if path else ""
            if any(what.site.p == p and (what.path + ".").startswith(inside) for what in seen.train):
                continue
            if isinstance(module, nn.RNNBase) or any(
                n.startswith(inside) and rate_of(m) == p for n, m in seen.modules.items()
            ):
                continue  # the rate of a part, which has findings of its own
            text = f"the attribute {name}={p:g} is the rate of no dropout that ran in this module"
            yield self.finding(
                "info", path, module, text, f"apply self.{name} in forward, or remove it", p=p, attribute=name
            )


def is_dropout_called(path: str, seen: Observation) -> bool:
    """Whether a dropout ran, may have been used by its rate alone, or stands where nothing ran."""
    module = seen.modules[path]
    if any(seen.called.get(name) for name, other in seen.modules.items() if other is module):
        return True
    around = _around(path, seen)
    if around is None or not seen.called.get(around):
        return True
    functions = (w for w in seen.train if w.site.kind != "module" and w.stranger is None)
    return any(_claimed_by(w.path, w.site.p, seen) == around for w in functions if same_rate(w.site.p, rate_of(module)))


def same_rate(one: float, other: float) -> bool:
    """Whether two rates are the same number."""
    return abs(one - other) < 1e-9


def _claimed_by(path: str, p: float, seen: Observation) -> str:
    """The module whose configured rate a function used: the nearest around it that has a part or attribute with it."""
    while path:
        module = seen.modules[path]
        parts = [rate_of(part) for part in module.children() if is_dropout_module(part)]
        parts += [value for name, value in vars(module).items() if isinstance(value, float) and "drop" in name]
        if any(same_rate(p, rate) for rate in parts):
            return path
        path = path.rpartition(".")[0]
    return path


def _around(path: str, seen: Observation) -> str | None:
    """The nearest module around one that is not a mere container."""
    while path:
        path = path.rpartition(".")[0]
        if path in seen.modules and type(seen.modules[path]) not in _CONTAINERS:
            return path
    return None


class OneLayerRecurrent(Rule):
    """Dropout between the layers of a recurrent module that has one layer."""

    code = "TD302"
    severities = ("warning",)
    why = "It is applied between layers, so with one layer there is none"
    source = "torch.nn.LSTM, argument dropout; espnet issue 1780"
    wrong = "nn.LSTM(8, 16, num_layers=1, dropout=0.5)"
    right = "nn.LSTM(8, 16, num_layers=1)  # and nn.Dropout(0.5) on its output"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A recurrent module has dropout > 0 and one layer."""
        for path, module in seen.modules.items():
            if isinstance(module, nn.RNNBase) and module.num_layers == 1 and module.dropout > 0:
                text = f"{type(module).__name__} with dropout={module.dropout:g} has num_layers=1, and drops nothing"
                fix = f"nn.Dropout({module.dropout:g}) on its output, or dropout=0"
                yield self.finding("warning", path, module, text, fix, p=module.dropout)


class HighRate(Rule):
    """A rate above 0.7."""

    code = "TD303"
    severities = ("warning",)
    why = "Error is flat for rates of 0.2 to 0.6 and rises beyond"
    source = "Srivastava et al. 2014, figure 9"
    wrong = "nn.Dropout(0.8)"
    right = "nn.Dropout(0.5)  # or measure it: thinned study"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout has 0.7 < p < 0.85."""
        for what, _ in first_of_each([what for what in seen.train if what.site.active and 0.7 < what.site.p < 0.85]):
            yield self.at(
                "warning",
                what,
                f"{call_of(what)} drops more than 0.7",
                "a rate of 0.2 to 0.6; `thinned study` measures it",
            )


class KeepRate(Rule):
    """A rate that looks like a keep rate."""

    code = "TD304"
    severities = ("warning",)
    why = "p is the probability of dropping in PyTorch, and of keeping in the paper and in TensorFlow 1"
    source = "Srivastava et al. 2014; tf.compat.v1.nn.dropout; CheXpert_Baseline issue 5"
    wrong = "nn.Dropout(p=0.9)  # keep 0.9"
    right = "nn.Dropout(p=0.1)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout has p ≥ 0.85."""
        for what, _ in first_of_each([what for what in seen.train if what.site.active and what.site.p >= 0.85]):
            text = f"{call_of(what)} keeps {1 - what.site.p:.2g} of its input"
            yield self.at("warning", what, text, f"p={1 - what.site.p:.2g}, if {what.site.p:g} was meant to be kept")


class AllZero(Rule):
    """Every rate is 0."""

    code = "TD305"
    severities = ("info",)
    why = "The model has places for dropout and uses none"
    source = "Kadra et al. 2021: tuned dropout wins on 30 of 40 tables, ties on 2"
    wrong = "nn.Dropout(0.0)"
    right = "nn.Dropout(0.1)  # or measure it: thinned study"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """Dropouts were called, and all of them with p = 0."""
        if seen.train and not any(what.site.p for what in seen.train):
            text = f"{len(seen.train)} dropouts have p=0"
            yield self.finding(
                "info", "", seen.modules[""], text, "set their rates, or leave it at that", sites=len(seen.train)
            )


class SharedInstance(Rule):
    """One dropout module used in several places."""

    code = "TD306"
    severities = ("info",)
    why = "The masks are independent, but the places cannot be given rates of their own"
    source = "torch.nn.Dropout"
    wrong = "x = self.drop(self.second(self.drop(self.first(x))))"
    right = "x = self.drop2(self.second(self.drop1(self.first(x))))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout module was called from several lines, or more often than the module around it."""
        calls: dict[str, list[Seen]] = {}
        for what in seen.train:
            if what.site.kind == "module":
                calls.setdefault(what.path, []).append(what)
        for group in calls.values():
            first, around = group[0], _around(group[0].path, seen)
            if len(group) > max(1, seen.called.get(around or "", 1)):
                lines = sorted({what.location.line for what in group if what.location})
                text = f"{call_of(first)} is called {len(group)} times, from lines {', '.join(map(str, lines))}"
                yield self.at("info", first, text, "one module for each place", calls=len(group))


class FewRows(Rule):
    """Few rows for any dropout to help."""

    code = "TD307"
    severities = ("warning", "info")
    why = "With few rows dropout has been seen to bring nothing; whether it does on these, a study measures"
    source = "Srivastava et al. 2014, figure 10 (no gain at 100 and 500 examples); Kadra et al. 2021"
    wrong = "thinned.audit(model, x, rows=300)  # with nn.Dropout(0.5)"
    right = "thinned study data.csv --target y --out runs/y"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """The number of rows was given, is at most 1,100, and a dropout has p ≥ 0.1."""
        highest = max((what.site.p for what in seen.train if what.drops), default=0.0)
        if seen.rows is None or seen.rows > 1100 or highest < 0.1:
            return
        text = f"the highest rate is p={highest:g}, and there are {seen.rows} training rows"
        fix = "thinned study data.csv --target COLUMN --out runs/study"
        severity: Severity = "warning" if seen.rows <= 500 else "info"
        yield self.finding(severity, "", seen.modules[""], text, fix, p=highest, rows=seen.rows)
