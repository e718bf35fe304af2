"""TD301: dropout that is configured and never applied."""

import ast
import re
from collections.abc import Iterator
from functools import partial

from torch import nn

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.class_source import reads_attribute
from thinned.audits.observation.modules import is_drop_path, is_dropout_module, rate_of
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceClass, constant
from thinned.audits.rules.attribute_reads import may_be_read
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.configured_rates import enclosing_module, has_run
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["NeverApplied"]

_OTHER_NAME = re.compile(r"path|layer|block|proj|stochastic|_rate$|edge|node|token|p_drop_")


class NeverApplied(Rule):
    """Dropout that is configured but never applied."""

    code = "TD301"
    severities = ("warning", "info")
    why = "The configured rate changes nothing"
    source = "transformers issue 29140; MONAI issue 4844; Informer2020 issue 97"
    wrong = "self.drop = nn.Dropout(0.5)  # in __init__, and not in forward"
    right = "x = self.drop(x)  # in forward"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The module around a dropout ran, the dropout did not, and no call there had its rate."""
        for path, module in observation.modules.items():
            if is_dropout_module(module) or is_drop_path(module):
                if rate_of(module) > 0 and not has_run(path, observation):
                    yield self._module_never_called(path, module, observation)
            elif observation.module_calls.get(path):
                yield from self._unused_attributes(path, module, observation)
        switched_off = [
            dropout
            for dropout in observation.training
            if dropout.site.p > 0
            and not dropout.site.active
            and dropout.site.kind in {"functional", "module"}
            and dropout.module.training
        ]
        for dropout, _ in first_at_each_line(switched_off):
            evidence = f"{describe(dropout)} is called with training=False while the model trains"
            fix = f"F.{dropout.site.op}(x, {dropout.site.p:g}, training=self.training)"
            yield self.dropout_finding("warning", dropout, evidence, fix)

    def _module_never_called(self, path: str, module: nn.Module, observation: Observation) -> Finding:
        severity: Severity = "info" if is_drop_path(module) else "warning"
        p, enclosing = rate_of(module), enclosing_module(path, observation) or "the model"
        evidence = f"{type(module).__name__} with p={p:g} was never called, though {enclosing} ran"
        fix = f"call self.{path.rpartition('.')[2]} in forward, or remove it"
        return self.module_finding(severity, path, module, evidence, fix, p=p)

    def _unused_attributes(self, path: str, module: nn.Module, observation: Observation) -> Iterator[Finding]:
        for name, p in vars(module).items():
            if not isinstance(p, float) or not 0 < p < 1 or isinstance(module, nn.RNNBase):
                continue
            if "drop" not in name or _OTHER_NAME.search(name):
                continue
            prefix = f"{path}." if path else ""
            if any(dropout.site.p == p and f"{dropout.path}.".startswith(prefix) for dropout in observation.training):
                continue
            if any(part.startswith(prefix) and rate_of(other) == p for part, other in observation.modules.items()):
                continue  # the rate of a part, which has findings of its own
            if reads_attribute(module, name):
                continue  # for a mask that it draws itself, as of labels or modalities
            evidence = f"the attribute {name}={p:g} is the rate of no dropout that ran in this module"
            fix = f"apply self.{name} in forward, or remove it"
            yield self.module_finding("info", path, module, evidence, fix, p=p, attribute=name)

    def check_class(self, source_class: SourceClass) -> Iterator[Finding]:
        """A class builds a dropout layer in ``__init__``, defines ``forward``, and never reads the layer."""
        if not source_class.has_forward:
            return
        names = source_class.names_read()
        for attribute, layer in source_class.dropout_layers:
            if attribute in names or constant(layer.argument("p", 0)) == 0:
                continue
            evidence = f"self.{attribute} = {ast.unparse(layer.node)} is not used in this class"
            fix = f"call self.{attribute} in forward, or remove it"
            yield self.source_finding(source_class.scope, layer.node, evidence, fix)

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Remove a dropout module that never ran and that no source reads."""
        path, module = finding.module, observation.modules[finding.module]
        parent_path, _, name = path.rpartition(".")
        parent = observation.modules.get(parent_path)
        if not path or parent is None or not is_dropout_module(module):
            return None
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            return None  # the numbers of the other parts would change
        if may_be_read(name, parent, observation.modules.values()):
            return None  # another method or branch uses it
        parts = dict(parent._modules)
        del parent._modules[name]
        return Repair(f"removed {type(module).__name__}, which never ran", partial(_put_back, parent, parts))


def _put_back(parent: nn.Module, parts: dict[str, nn.Module | None]) -> None:
    """Restore the parts of a module in their order."""
    parent._modules.clear()
    parent._modules.update(parts)
