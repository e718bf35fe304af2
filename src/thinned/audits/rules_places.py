"""TD2xx: dropout in a place, or over axes, where it does something else than was meant."""

import math
from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.passes import Observation, Shift, rate_of
from thinned.audits.observation.recorder import Seen
from thinned.audits.rules import Rule, call_of, dimensions_of, first_of_each, is_elementwise
from thinned.tracing.sites import VIEWS

__all__ = ["BeforeBatchNorm", "Compounded", "DropPathAxis", "ElementwiseOnConvolution", "OnOutput", "WrongDimension"]

_SQUASHES = frozenset(["softmax", "log_softmax", "sigmoid", "logsigmoid", "softmin"])
_LOSSES = frozenset(
    [
        "cross_entropy",
        "nll_loss",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy",
        "kl_div",
        "binary_cross_entropy_with_logits",
        "gaussian_nll_loss",
        "poisson_nll_loss",
        "multi_margin_loss",
    ]
)
_LAST = frozenset(["linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward"])
_SHIFTED = 1.1  # Li et al. 2019 see accuracy suffer from shifts of some tenths; dropout behind batch norm gives < 1.05


class OnOutput(Rule):
    """Dropout on the output."""

    code = "TD201"
    severities = ("warning",)
    why = (
        "Predictions themselves are set to 0 and scaled in training; the noise reaches the loss, and no "
        "weight can learn to average it"
    )
    source = "Srivastava et al. 2014, section 4, who drop input and hidden units"
    wrong = "return self.drop(self.head(x))"
    right = "return self.head(self.drop(x))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout's input is a layer's plain output, and its result the model's output, or goes to a loss."""
        for what, _ in first_of_each([w for w in seen.train if w.drops and w.site.kind in {"module", "functional"}]):
            if what.origin is None or not what.origin.op.startswith(("linear", "conv", "addmm", "bilinear")):
                continue
            after = {op.name.strip("_") for op in what.site.consumers}
            ends = (what.output and not after) or (after and after <= _LOSSES | _SQUASHES | {"LogSoftmax", "Softmax"})
            if ends and set(what.origin.between) <= _SQUASHES | {view.strip("_") for view in VIEWS}:
                text = f"{call_of(what)} is on the output of the last layer"
                yield self.at("warning", what, text, "put it before the last layer: x = self.head(self.drop(x))")


class BeforeBatchNorm(Rule):
    """Dropout before batch norm, with no weight between."""

    code = "TD202"
    severities = ("warning", "info")
    why = "Batch norm learns the variance that dropout has raised, and in evaluation meets another one"
    source = "Li et al. 2019, 'Understanding the disharmony between dropout and batch normalization by variance shift'"
    wrong = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.BatchNorm2d(8), nn.ReLU())"
    right = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A batch norm's input carries a dropout's output; graded by the variance with dropout over that without."""
        worst: dict[int, Shift] = {}
        for shift in seen.shifts:
            for number in shift.norm.numbers:
                if seen.train[number].drops and _ratio(shift) >= _ratio(worst.get(number)):
                    worst[number] = shift
        behind = [seen.train[number] for number in sorted(worst)]
        for what, _ in first_of_each(behind):
            shift = worst[what.number]
            severity: Severity = "warning" if (shift.ratio or 1 / (1 - min(what.site.p, 0.99))) >= _SHIFTED else "info"
            measured = f"{shift.ratio:.2f}" if shift.ratio is not None else _unmeasured(what, shift)
            text = (
                f"{call_of(what)} comes before {shift.norm.path}; variance there with it over that without: {measured}"
            )
            fix = f"move it behind {shift.norm.path}, or thinned.recalibrate_batchnorm(model, batches) after training"
            yield self.at(severity, what, text, fix, norm=shift.norm.path, variance_ratio=shift.ratio)


def _unmeasured(what: Seen, shift: Shift) -> str:
    theory = 1 / (1 - min(what.site.p, 0.99))
    return f"about {theory:.2f} in theory, not measured ({shift.norm.values} values a channel)"


def _ratio(shift: Shift | None) -> float:
    return -1.0 if shift is None else shift.ratio or 0.0


class ElementwiseOnConvolution(Rule):
    """Element-wise dropout on convolutional features."""

    code = "TD203"
    severities = ("info",)
    why = "Neighbouring positions repeat what was dropped, so little is regularised; dropping whole channels does more"
    source = "Tompson et al. 2015, section 3.2; Ghiasi et al. 2018"
    wrong = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.2))"
    right = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout2d(0.2))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """An element-wise dropout is on the output of a convolution that still has its spatial axes."""
        for what, _ in first_of_each([what for what in seen.train if what.drops and is_elementwise(what)]):
            dims = convolution_dims(what)
            if dims and math.prod(what.site.shape[2:]) > 1:
                name = f"Dropout{dims}d"
                fix = f"nn.{name}({what.site.p:g})" if what.site.kind == "module" else f"F.{name.lower()}(...)"
                yield self.at("info", what, f"{call_of(what)} is on the output of {what.origin.op}", fix)  # type: ignore[union-attr]


def convolution_dims(what: Seen) -> int | None:
    """The number of spatial axes where the tensor is laid out as a convolution's output; None elsewhere."""
    if what.origin is None or not what.origin.op.startswith("conv") or what.origin.moved_axes():
        return None
    dims = int(what.origin.op[-2])
    return (
        dims
        if len(what.site.shape) == dims + 2 and not {"flatten", "reshape", "view"} & set(what.origin.between)
        else None
    )


class WrongDimension(Rule):
    """Dropout1d, 2d or 3d on a tensor of another form."""

    code = "TD204"
    severities = ("error", "warning")
    why = (
        "The axis that it takes for channels is another one, so whole samples, time steps or single elements "
        "are dropped instead"
    )
    source = "torch.nn.Dropout1d, Dropout2d, Dropout3d; pytorch issue 77081"
    wrong = "nn.Dropout1d(0.5)(features)  # (N, F): whole samples become 0"
    right = "nn.Dropout(0.5)(features)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """The tensor has fewer axes than the dropout is for, or its features are in the last axis."""
        for what, _ in first_of_each([what for what in seen.train if what.drops]):
            dims, shape = dimensions_of(what), what.site.shape
            if dims is None:
                continue
            if len(shape) == dims + 1 and dims != 2 and self._has_batch(what, seen):
                text = (
                    f"{call_of(what)} has {len(shape)} axes, is taken for one sample without a batch, and drops whole "
                    f"samples"
                )
                yield self.at("error", what, text, _proper(what))
            elif len(shape) != dims + 2 and not (len(shape) == dims + 1 and dims != 2):
                does = "each element has its own decision" if len(shape) == 2 else "it drops along axes 0 and 1"
                text = f"{call_of(what)} is for {dims + 2} axes, and has {len(shape)}: {does}"
                yield self.at("warning", what, text, _proper(what))
            elif len(shape) == dims + 2 and _features_last(what):
                text = f"{call_of(what)} drops along axis 1, but the features are in the last axis"
                fix = f"thinned.LockedDropout({what.site.p:g}), or x.transpose(1, -1) before and after it"
                yield self.at("warning", what, text, fix)

    @staticmethod
    def _has_batch(what: Seen, seen: Observation) -> bool:
        return bool(what.site.shape[0] > 1 and what.site.shape[0] == seen.batch)


def _features_last(what: Seen) -> bool:
    takers = {op.name for op in what.site.consumers}
    convolved = any(name.lower().startswith("conv") for name in takers)
    return (
        what.origin is not None
        and what.origin.op in _LAST
        and not what.origin.moved_axes()
        and not convolved
        and (not {"view", "reshape", "unflatten", "unsqueeze"} & set(what.origin.between))
    )


def _proper(what: Seen) -> str:
    dims = convolution_dims(what)
    name = f"Dropout{dims}d" if dims else "Dropout"
    return (
        f"nn.{name}({what.site.p:g})"
        if what.site.kind == "module"
        else f"F.{name.lower()}(x, {what.site.p:g}, self.training)"
    )


class DropPathAxis(Rule):
    """Stochastic depth that does not drop whole samples."""

    code = "TD205"
    severities = ("warning",)
    why = (
        "Stochastic depth skips a block for a whole sample; along another axis it removes parts of every "
        "sample, or one time step of all"
    )
    source = "Huang et al. 2016"
    wrong = "mask = torch.rand(1, x.shape[1], 1) >= p"
    right = "mask = torch.rand(x.shape[0], 1, 1) >= p  # thinned.DropPath(p)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A drop-path module's decisions differ along an axis other than the first, or the first is not the batch."""
        for path, shape in seen.shapes.items():
            module = seen.modules[path]
            wrong = seen.axes.get(path, set()) - {0}
            moved = bool(seen.batch and seen.batch > 1 and shape[0] % seen.batch and seen.batch in shape[1:])
            if not rate_of(module) or not (wrong or moved):
                continue
            axis = (
                f"decisions differ along axis {min(wrong)}"
                if wrong
                else "axis 0 is dropped, and the batch is another one"
            )
            text = f"{type(module).__name__} with p={rate_of(module):g} on {shape}: {axis}"
            fix = f"thinned.DropPath({rate_of(module):g})" + ("" if wrong else "  # on a batch-first tensor")
            yield self.finding(
                "warning", path, module, text, fix, p=rate_of(module), shape=list(shape), axes=sorted(wrong)
            )


class Compounded(Rule):
    """Two dropouts in a row."""

    code = "TD206"
    severities = ("warning",)
    why = "Their rates add up to 1 − (1 − p₁)(1 − p₂), which neither of them shows"
    source = "Srivastava et al. 2014, section 4: one mask a layer"
    wrong = "nn.Sequential(nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5))"
    right = "nn.Sequential(nn.ReLU(), nn.Dropout(0.75))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout's input already carries a dropout, with nothing but activations and views between."""
        for what, _ in first_of_each([what for what in seen.train if what.drops]):
            earlier = [seen.train[number] for number in what.onto if seen.train[number].drops]
            if earlier:
                p = 1 - math.prod(1 - w.site.p for w in (*earlier, what))
                names = ", ".join(w.site.name or "(the model)" for w in earlier)
                text = f"{call_of(what)} follows {names} with no weight between; together they drop {p:.2g}"
                yield self.at(
                    "warning",
                    what,
                    text,
                    f"keep one of them, with the rate that you want (p={p:.2g} as it is)",
                    total=p,
                )
