"""TD1xx: dropout that is on where it should be off, or off where it should be on."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.passes import Observation, rate_of
from thinned.audits.observation.recorder import Seen
from thinned.audits.rules import Rule, call_of, first_of_each

__all__ = ["ActiveInEvaluation", "AsleepWhileTraining", "BuiltInForward", "RandomEvaluation"]

_MASKS = {"bernoulli", "bernoulli_", "native_dropout"}


def _gate(what: Seen) -> str:
    p, op = f"{what.site.p:g}", what.site.op
    if op == "scaled_dot_product_attention":
        return f"F.scaled_dot_product_attention(q, k, v, dropout_p={p} if self.training else 0.0)"
    if what.site.kind == "module":
        return f"module.eval()  # {what.path}: its training flag stays True after model.eval()"
    if what.site.kind in {"rnn", "attention"}:
        return f"pass training=self.training to {op}"
    return f"F.{op.strip('_')}(x, p={p}, training=self.training)"


class ActiveInEvaluation(Rule):
    """Dropout active in evaluation."""

    code = "TD101"
    severities = ("error",)
    why = (
        "Predictions are random and those of a thinned network, not of the whole one; model.eval() should "
        "turn dropout off"
    )
    source = "Srivastava et al. 2014, section 10; torch.nn.functional.dropout, whose training defaults to True"
    wrong = "x = F.dropout(x, p=0.5)"
    right = "x = F.dropout(x, p=0.5, training=self.training)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """In an evaluation pass a dropout was called with p > 0 and in training mode."""
        active = [what for what in seen.evaluation if what.drops and not _is_new(what)]
        for what, number in first_of_each(active):
            times = f", {number} calls" if number > 1 else ""
            text = f"{call_of(what)} drops in evaluation mode{times}"
            if what.stranger is not None:
                text += f"; the {what.stranger.cls} is kept where model.eval() does not reach it"
                fix = "self.drops = nn.ModuleList(drops)  # not a plain list or dict"
            else:
                fix = _gate(what)
            yield self.at("error", what, text, fix, calls=number)


def _is_new(what: Seen) -> bool:
    return what.stranger is not None and not what.stranger.lives


class RandomEvaluation(Rule):
    """Two evaluations differ."""

    code = "TD102"
    severities = ("error", "warning", "info")
    why = (
        "A mask that is not one of torch's dropout functions (TorchScript, NumPy, a generator of its own) may"
        " ignore model.eval()"
    )
    source = "Srivastava et al. 2014, section 10"
    wrong = "x = x * torch.bernoulli(torch.full_like(x, 0.5))"
    right = "if self.training:\n    x = x * torch.bernoulli(torch.full_like(x, 0.5))"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """Two evaluations of one input differ, and no dropout was seen to be active."""
        if seen.difference is None:
            return
        path, cls, largest, moved = seen.difference
        drawn = {op.name for op in seen.noise}
        names = ", ".join(sorted(drawn)) or "no function of torch's"
        size = f" by up to {largest:.3g}" if largest else ""
        text = f"two evaluations of one input differ{size}, first in this module's output; random numbers from {names}"
        if moved > 0.002:
            text += f"; {moved:.1%} of its output are 0 in one of them only, as under a mask"
        severity: Severity = "error" if moved > 0.002 or drawn & _MASKS else "info" if drawn else "warning"
        location_module = seen.modules.get(path)
        yield self.finding(
            severity,
            path,
            location_module if location_module is not None else cls,
            text,
            "if self.training:  # around what draws the mask",
            largest=largest,
            moved_zeros=moved,
            noise=sorted(drawn),
        )


class BuiltInForward(Rule):
    """Dropout module built in forward."""

    code = "TD103"
    severities = ("error", "info")
    why = "A new module is in training mode, and model.eval() cannot reach it"
    source = "torch.nn.Module: modules that are not attributes are not part of the model"
    wrong = "x = nn.Dropout(0.5)(x)  # in forward"
    right = "self.drop = nn.Dropout(0.5)  # in __init__\nx = self.drop(x)  # in forward"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout module ran that is not part of the model and was gone after the pass."""
        active = [what for what in seen.evaluation if what.drops and _is_new(what)]
        for what, _ in first_of_each(active):
            text = f"{call_of(what)} is built anew in each forward pass, and drops in evaluation mode"
            yield self.at("error", what, text, self._fix(what))
        known = {(what.path, what.location) for what in active}
        gated = [what for what in seen.train if _is_new(what) and (what.path, what.location) not in known]
        for what, _ in first_of_each(gated):
            text = f"{call_of(what)} is built anew in each forward pass, off in evaluation"
            yield self.at("info", what, text, self._fix(what))

    @staticmethod
    def _fix(what: Seen) -> str:
        cls = what.stranger.cls if what.stranger else "Dropout"
        return f"self.drop = nn.{cls}({what.site.p:g})  # in __init__; in forward: x = self.drop(x)"


class AsleepWhileTraining(Rule):
    """Dropout in evaluation mode while the model trains."""

    code = "TD104"
    severities = ("warning",)
    why = "It is configured and never drops, so the model trains without the regularisation that was asked for"
    source = "Lightning issue 20105; torch.nn.Module.train"
    wrong = "model.train()\nmodel.encoder.eval()  # though its parameters are trained"
    right = "model.train()"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout module is in evaluation mode though the model trains, and no frozen part has it."""
        for path in seen.asleep:
            module = seen.modules[path]
            text = f"{type(module).__name__} with p={rate_of(module):g} is in evaluation mode while the model trains"
            yield self.finding("warning", path, module, text, "model.train()  # before training", p=rate_of(module))
