"""The state of one running training forward pass of a converted model."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import torch

from thinned.conversion import torch_private
from thinned.tracing.site import site_name

if TYPE_CHECKING:
    from thinned.conversion.converted_model import ConvertedModel
    from thinned.conversion.forward_wrapper import ForwardWrapper
    from thinned.conversion.recomputation import Replay

__all__ = [
    "ForwardPass",
    "KeyAndCall",
    "MaskCount",
    "NextAddress",
    "Running",
    "SiteAddress",
    "SiteOverride",
    "Snapshot",
    "thread",
]


class KeyAndCall(TypedDict, total=False):
    """The keyword arguments of a functional form that name its mask; empty where the key is to be drawn."""

    key: int | torch.Tensor
    call: int | torch.Tensor


class SiteAddress(KeyAndCall, total=False):
    """The same, with the axes that share a decision where the masks have another form than the model's code says."""

    shared: tuple[int, ...]


class SiteOverride(NamedTuple):
    """What a site does instead of what the model's code says.

    Attributes:
        rate: probability of dropping, in [0, 1]; a 0-dim float64 tensor where ``torch.func.vmap`` gives each member
            of a stack its own.
        shared: axes whose elements share one decision, of a site that drops element by element; None leaves it so.
    """

    rate: float | torch.Tensor
    shared: tuple[int, ...] | None = None


NextAddress = Callable[[], SiteAddress]


class _Thread(threading.local):
    """The state of this thread. torch.compile can't trace a context variable, and a forward never changes threads.

    Attributes:
        forward_pass: the innermost pass that runs.
        replay: the checkpointed region that runs again.
    """

    def __init__(self) -> None:  # in each thread; torch.compile guards on what the instance has
        self.forward_pass: ForwardPass | None = None
        self.replay: Replay | None = None


thread = _Thread()


class MaskCount(threading.local):
    """Number of masks that a module has drawn in the pass of this thread; 0 between passes."""

    def __init__(self) -> None:
        self.number = 0

    def __reduce__(self) -> tuple[type["MaskCount"], tuple[()]]:
        return MaskCount, ()

    def __deepcopy__(self, memo: dict[int, object]) -> "MaskCount":
        return MaskCount()


class Running(NamedTuple):
    """A wrapped module that runs.

    Attributes:
        wrapper: of the module.
        gradients: True if gradients were on when it was called.
        saving: the function that packed tensors for the backward pass then.
        marked: True if it runs within an ``autograd.Function`` that may run it again.
    """

    wrapper: "ForwardWrapper"
    gradients: bool
    saving: object
    marked: bool

    def same_surroundings(self) -> bool:
        """Tell that neither gradients were switched off since, nor a checkpointed region was entered."""
        return self.gradients <= torch.is_grad_enabled() and self.saving is torch_private.saving()


class Snapshot(NamedTuple):
    """A moment of a forward pass, to which a recomputation returns.

    Attributes:
        forward_index: number of the pass.
        forward_tensor: the same as a tensor.
        counts: masks that each module had drawn.
        running: modules that ran, innermost last.
    """

    forward_index: int | torch.Tensor
    forward_tensor: torch.Tensor | None
    counts: "Mapping[ForwardWrapper, int]"
    running: tuple[Running, ...]


class ForwardPass:
    """One training forward pass: the outermost module makes it, and throws it away when it returns or raises.

    Args:
        model: the model that runs.
        forward_index: number of the pass; an int where nobody has to wait for a device.
        forward_tensor: the same as a tensor, for compiled parts; None while keys are drawn.
        recalled: True if an ``autograd.Function`` runs a part of the pass again.

    Attributes:
        running: modules that run, innermost last.
        routed: True while torch's functions are replaced.
        marks: modules that an ``autograd.Function`` may run again.
    """

    def __init__(
        self,
        model: "ConvertedModel",
        forward_index: int | torch.Tensor = 0,
        forward_tensor: torch.Tensor | None = None,
        *,
        recalled: bool = False,
    ) -> None:
        self.model = model
        self.forward_index = forward_index
        self.forward_tensor = forward_tensor
        self.running: list[Running] = []
        self.routed = False
        self.recalled = recalled
        self.marks: dict[tuple[str, int], Snapshot] = {}

    def next_address(self) -> SiteAddress:
        """The address of the next mask of the module that runs."""
        wrapper = self.running[-1].wrapper
        ordinal = wrapper.count.number
        wrapper.count.number = ordinal + 1
        address: SiteAddress = {}
        if self.model.seed is not None and torch.compiler.is_compiling() and self.forward_tensor is not None:
            address = {"key": wrapper.compiled_key(ordinal, self.forward_tensor.device), "call": self.forward_tensor}
        elif self.model.seed is not None:
            address = {"key": wrapper.key(ordinal), "call": self.forward_index}
        if self.model.overrides:
            override = self.model.overrides.get(site_name(wrapper.path, ordinal))
            if override is not None and override.shared is not None:
                address["shared"] = override.shared
        return address

    def snapshot(self) -> Snapshot:
        """This moment of the pass."""
        counts = {w: w.count.number for w in self.model.wrappers if w.count.number}
        return Snapshot(self.forward_index, self.forward_tensor, counts, tuple(self.running))

    def close(self) -> None:
        """Set the counts of all modules to 0."""
        for wrapper in self.model.wrappers:
            if wrapper.count.number:
                wrapper.count.number = 0
