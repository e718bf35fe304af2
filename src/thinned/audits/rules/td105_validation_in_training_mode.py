"""TD105: validation of a model that is in training mode."""

import ast
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceFile
from thinned.audits.rules.base import Rule
from thinned.audits.rules.mode_switches import (
    calls_below,
    functions_of,
    is_model,
    is_no_grad,
    optimised_names,
    receiver,
    sets_training,
    stops_training,
)

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
        """A file that trains a model runs it under ``no_grad``, and nowhere calls its ``eval()``; read, not run."""
        return iter(())

    def check_file(self, source_file: SourceFile) -> Iterator[Finding]:
        """A file that trains a model runs it under ``no_grad``, and nowhere calls its ``eval()``."""
        calls = list(calls_below([source_file.tree], {}))
        if not any(isinstance(call.func, ast.Attribute) and call.func.attr == "backward" for call in calls):
            return
        stopped = {receiver(call).rpartition(".")[2] for call in calls if stops_training(call)}
        trained = {receiver(call) for call in calls if sets_training(call) and not stops_training(call)}
        trained |= optimised_names(source_file.tree)
        if not stopped <= {ast.unparse(call.func).rpartition(".")[2] for call in calls}:
            return  # an object of that name runs nowhere: it may be any of the models, by another name
        functions, reported = functions_of(source_file.tree), set[ast.Call]()
        for block in filter(is_no_grad, ast.walk(source_file.tree)):
            for run in calls_below([block], functions):
                name = ast.unparse(run.func)
                is_known = name in trained or (is_model(name) and not stopped)
                if run not in reported and is_known and name.rpartition(".")[2] not in stopped:
                    reported.add(run)
                    evidence = f"{name} runs under no_grad, and nothing in this file calls {name}.eval()"
                    fix = f"{name}.eval()  # before it, and {name}.train() afterwards"
                    yield self.source_finding(source_file.scope, run, evidence, fix, model=name)
                    break
