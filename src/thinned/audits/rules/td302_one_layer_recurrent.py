"""TD302: dropout between the layers of a recurrent module that has one layer."""

from collections.abc import Iterator

from torch import nn

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall, constant
from thinned.audits.rules.base import Rule

__all__ = ["OneLayerRecurrent"]


class OneLayerRecurrent(Rule):
    """Dropout between the layers of a recurrent module that has one layer."""

    code = "TD302"
    severities = ("warning",)
    why = "The dropout acts between layers, so with one layer there is none"
    source = "torch.nn.LSTM, argument dropout; espnet issue 1780"
    wrong = "nn.LSTM(8, 16, num_layers=1, dropout=0.5)"
    right = "nn.LSTM(8, 16, num_layers=1)  # and nn.Dropout(0.5) on its output"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A recurrent module has dropout > 0 and one layer."""
        for path, module in observation.modules.items():
            if isinstance(module, nn.RNNBase) and module.num_layers == 1 and module.dropout > 0:
                p = module.dropout
                evidence = _evidence(type(module).__name__, p)
                yield self.module_finding("warning", path, module, evidence, _fix(p), p=p)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A recurrent layer is built with dropout > 0 and one layer."""
        if call.recurrent_layer is None:
            return
        p, n_layers = call.scope.number(call.argument("dropout")), call.argument("num_layers", 2)
        one_layer = n_layers is None or constant(n_layers) == 1
        if p is not None and 0 < p <= 1 and one_layer:
            evidence = _evidence(f"nn.{call.recurrent_layer}", p)
            yield self.source_finding(call.scope, call.node, evidence, _fix(p), p=p)


def _evidence(layer: str, p: float) -> str:
    return f"{layer} with dropout={p:g} has num_layers=1, and drops nothing"


def _fix(p: float) -> str:
    return f"nn.Dropout({p:g}) on its output, or dropout=0"
