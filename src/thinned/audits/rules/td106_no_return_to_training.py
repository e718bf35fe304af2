"""TD106: training that goes on in evaluation mode."""

import ast
import re
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceFile
from thinned.audits.rules.base import Rule
from thinned.audits.rules.mode_switches import (
    called_names,
    calls_below,
    functions_of,
    is_model,
    optimised_names,
    receiver,
    sets_training,
)

__all__ = ["NoReturnToTraining"]

#: names of networks that serve a training and are not trained
_FIXED = re.compile(r"teacher|ema|target|momentum|frozen|reference|pretrained|vgg|lpips|clip", re.IGNORECASE)


class NoReturnToTraining(Rule):
    """No train() after validation."""

    code = "TD106"
    severities = ("warning",)
    why = "After the first validation the model trains in evaluation mode, without dropout"
    source = "pytorch-3dunet issue 53; torch.nn.Module.train"
    wrong = "for x, y in batches:\n    step(model, x, y)\n    validate(model)  # calls model.eval()"
    right = "for x, y in batches:\n    model.train()\n    step(model, x, y)\n    validate(model)"

    def check(self, observation: Observation) -> Iterator[Finding]:  # noqa: ARG002
        """A loop that trains calls ``eval()`` on the model, and nowhere ``train()``; read, not run."""
        return iter(())

    def check_file(self, source_file: SourceFile) -> Iterator[Finding]:
        """A loop that trains calls ``eval()`` on the model, itself or in a function of the file, and no ``train()``."""
        functions = functions_of(source_file.tree)
        trained = _trained_names(source_file.tree)
        reported: set[ast.Call] = set()
        for loop in ast.walk(source_file.tree):
            if not isinstance(loop, ast.For | ast.While):
                continue
            calls = list(calls_below(loop.body, functions))
            methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
            if "backward" not in methods or any(sets_training(call) for call in calls):
                continue
            for call in calls:
                is_eval = isinstance(call.func, ast.Attribute) and call.func.attr == "eval" and not call.args
                name = receiver(call)
                is_trained = is_model(name) or name in trained
                if is_eval and call not in reported and is_trained and _goes_on(loop, call):
                    reported.add(call)
                    evidence = f"the loop in line {loop.lineno} trains, and calls {name}.eval(), but not {name}.train()"
                    fix = f"{name}.train()  # behind the validation, or first in the loop"
                    yield self.source_finding(source_file.scope, call, evidence, fix, loop_line=loop.lineno)


def _trained_names(tree: ast.AST) -> set[str]:
    """Objects that an optimiser trains, or that run where ``backward`` is called."""
    names = optimised_names(tree)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.For | ast.While):
            called = called_names(function)
            if any(name.endswith(".backward") for name in called):
                names |= {name for name in called if not _FIXED.search(name)}
    return names


def _goes_on(loop: ast.For | ast.While, call: ast.Call) -> bool:
    """False where the loop builds the model itself, or ends behind the call."""
    name = receiver(call)
    for node in ast.walk(loop):
        if isinstance(node, ast.Assign) and name in {ast.unparse(target) for target in node.targets}:
            return False
        blocks = [value for _, value in ast.iter_fields(node) if isinstance(value, list)]
        ends = [block for block in blocks if block and isinstance(block[-1], ast.Return | ast.Break | ast.Raise)]
        if any(isinstance(part, ast.Expr) and part.value is call for block in ends for part in block):
            return False
    return True
