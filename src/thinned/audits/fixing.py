"""Repairs what can be repaired without a doubt, in place."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.audits.findings import Finding
from thinned.audits.observation.passes import Observation
from thinned.audits.rules import is_dropout_module
from thinned.audits.rules_places import convolution_dims
from thinned.tracing.torch_functions import BINDERS

__all__ = ["Gate", "repair"]

_SPATIAL: dict[int | None, type[nn.Module]] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d, None: nn.Dropout}


def repair(findings: Iterable[Finding], seen: Observation, runs: Callable[[], object]) -> list[str]:
    """Apply the safe fixes of these findings.

    Args:
        findings: of its audit.
        seen: what the audit saw.
        runs: runs the model again; a removal after which it raises is undone.

    Returns:
        What was done, a sentence each.
    """
    done = []
    for finding in findings:
        if finding.module not in seen.modules:
            continue
        module = seen.modules[finding.module]
        if finding.code in {"TD101", "TD103"}:
            what = _gate(finding, module)
        elif finding.code in {"TD203", "TD204"}:
            what = _make_spatial(finding.module, module, seen)
        elif finding.code == "TD301":
            what = _remove(finding.module, seen, runs)
        else:
            continue
        done += [f"{finding.code} {finding.module or '(the model)'}: {what}"] if what else []
    return list(dict.fromkeys(done))


class Gate(TorchFunctionMode):
    """Within, torch's dropout functions drop nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        describe = BINDERS.get(func)
        call = describe(*args, **kwargs) if describe else None
        if call is not None and call.kind == "functional":
            return args[0] if args else kwargs["input"]
        if func is F.scaled_dot_product_attention:
            if len(args) > 4:
                args = (*args[:4], 0.0, *args[5:])
            else:
                kwargs["dropout_p"] = 0.0
        elif func is F.multi_head_attention_forward:
            kwargs["training"] = False
        return func(*args, **kwargs)


class _Closed(threading.local):
    """The gates that are closed in this thread, innermost last, each with its module."""

    def __init__(self) -> None:
        self.gates: list[tuple[nn.Module, Gate]] = []


_closed = _Closed()


def _close_gate(module: nn.Module, _: Any) -> None:
    """Before a forward: nothing drops in evaluation."""
    if not module.training:
        _closed.gates.append((module, Gate()))
        _closed.gates[-1][1].__enter__()  # type: ignore[no-untyped-call]


def _open_gate(module: nn.Module, _: Any, __: Any) -> None:
    """After it, by whatever way it ended."""
    if _closed.gates and _closed.gates[-1][0] is module:  # whatever mode the forward has left it in
        _closed.gates.pop()[1].__exit__(None, None, None)  # type: ignore[no-untyped-call]


def _gate(finding: Finding, module: nn.Module) -> str | None:
    if finding.module and is_dropout_module(module):
        return None  # a module whose own mode is wrong: the gate would not know
    if _close_gate in module._forward_pre_hooks.values():
        return None
    module.register_forward_pre_hook(_close_gate)
    module.register_forward_hook(_open_gate, always_call=True)
    return f"dropout of torch's functions within this {type(module).__name__} is off in evaluation"


def _make_spatial(path: str, module: nn.Module, seen: Observation) -> str | None:
    """Change a dropout's class where all its calls ask for the same one."""
    calls = [what for what in seen.train if what.site.kind == "module" and what.path == path]
    if not calls or type(module) not in _SPATIAL.values():
        return None
    forms = {convolution_dims(what) for what in calls}
    plain = all(len(what.site.shape) == 2 for what in calls)
    if len(forms) != 1 or (forms == {None} and not plain):
        return None  # features in the last axis: which axis is meant, only the author knows
    cls = _SPATIAL[forms.pop()]
    if type(module) is cls:
        return None
    before, module.__class__ = type(module).__name__, cls
    return f"{before} became {cls.__name__}"


def _remove(path: str, seen: Observation, runs: Callable[[], object]) -> str | None:
    """Delete a dropout module that never ran, unless the model needs it after all."""
    parent_path, _, name = path.rpartition(".")
    parent, module = seen.modules.get(parent_path), seen.modules[path]
    if (
        not path
        or parent is None
        or isinstance(parent, (nn.ModuleList, nn.Sequential))
        or not is_dropout_module(module)
    ):
        return None  # in a list, the other parts' numbers would change
    order = list(parent._modules.items())
    del parent._modules[name]
    try:
        runs()
    except Exception:  # noqa: BLE001 - somebody asks for it by name
        parent._modules.clear()
        parent._modules.update(order)
        return None
    return f"removed {type(module).__name__}, which never ran"
