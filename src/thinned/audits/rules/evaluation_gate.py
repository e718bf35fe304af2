"""The repair of TD101 and TD103: within a module, torch's dropout functions drop nothing in evaluation mode."""

import threading
from collections.abc import Callable

import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.audits.findings import Finding
from thinned.audits.observation.modules import is_dropout_module
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Repair
from thinned.tracing.torch_functions import BINDERS

__all__ = ["gate_in_evaluation"]


class _NoDropout(TorchFunctionMode):
    """Within, torch's dropout functions drop nothing."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
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


class _GatesOfThread(threading.local):
    """The modules of this thread that run behind a gate, innermost last, each with its mode."""

    def __init__(self) -> None:
        self.stack: list[tuple[nn.Module, _NoDropout]] = []


_gates = _GatesOfThread()


def _enter_gate(module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG001 - a hook's signature
    if not module.training:
        gate = _NoDropout()
        _gates.stack.append((module, gate))
        gate.__enter__()  # type: ignore[no-untyped-call]


def _leave_gate(module: nn.Module, args: tuple[object, ...], output: object) -> None:  # noqa: ARG001
    if _gates.stack and _gates.stack[-1][0] is module:  # the forward may have changed the module's mode
        _gates.stack.pop()[1].__exit__(None, None, None)  # type: ignore[no-untyped-call]


def gate_in_evaluation(finding: Finding, observation: Observation) -> Repair | None:
    """Put the gate around the module of a finding."""
    module = observation.modules[finding.module]
    if finding.module and is_dropout_module(module):
        return None  # the module's own mode is wrong, so the gate would stay open
    if _enter_gate in module._forward_pre_hooks.values():
        return None
    module.register_forward_pre_hook(_enter_gate)
    module.register_forward_hook(_leave_gate, always_call=True)
    return Repair(f"dropout functions within this {type(module).__name__} are off in evaluation")
