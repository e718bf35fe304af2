"""TD105: validation of a model that is in training mode."""

import ast
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceFile
from thinned.audits.rules.base import Rule
from thinned.audits.rules.mode_switches import calls_below, is_model, is_no_grad, stops_training

__all__ = ["ValidationInTrainingMode"]


class ValidationInTrainingMode(Rule):
    """Validation without eval()."""

    code = "TD105"
    severities = ("warning",)
    why = "Dropout stays on, so that the scores are those of thinned networks, and batch norm learns from validation"
    source = "torch.nn.Module.eval; pytorch-3dunet issue 53; torch.no_grad, which leaves the mode as it is"
    wrong = "with torch.no_grad():\n    loss = criterion(model(x), y)"
    right = "model.eval()\nwith torch.no_grad():\n    loss = criterion(model(x), y)\nmodel.train()"

    def check(self, observation: Observation) -> Iterator[Finding]:  # noqa: ARG002
        """A file that trains a model runs it under ``no_grad``, and nowhere calls ``eval()``; read, not run."""
        return iter(())

    def check_file(self, source_file: SourceFile) -> Iterator[Finding]:
        """A file that trains a model runs it under ``no_grad``, and nowhere calls ``eval()``."""
        calls = list(calls_below([source_file.tree], {}))
        trains = any(isinstance(call.func, ast.Attribute) and call.func.attr == "backward" for call in calls)
        if not trains or any(stops_training(call) for call in calls):
            return
        for block in filter(is_no_grad, ast.walk(source_file.tree)):
            runs = [call for call in calls_below([block], {}) if is_model(ast.unparse(call.func))]
            if runs:
                name = ast.unparse(runs[0].func)
                evidence = f"{name} runs under no_grad, and nothing in this file calls {name}.eval()"
                fix = f"{name}.eval()  # before it, and {name}.train() afterwards"
                yield self.source_finding(source_file.scope, runs[0], evidence, fix, model=name)
