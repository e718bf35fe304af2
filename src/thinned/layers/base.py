"""State that every dropout layer holds: its rate and the address of its masks."""

import threading
from collections.abc import Callable
from typing import Self, TypedDict

import torch
from torch import nn

from thinned.errors import check_p

__all__ = ["Addressed", "MaskAddress", "dropout_layers", "given_address", "register_address"]


class _GivenAddress(threading.local):
    """The address that a running forward pass gives to the layer that this thread calls.

    Attributes:
        layer: the layer; None between calls.
        key: key of its next mask; None where the key is to be drawn.
        call: number of the training forward pass.
        rate: the layer's rate in this call; None leaves it its own.
        shared: axes whose elements share one decision in this call; None leaves the layer's own.
    """

    def __init__(self) -> None:
        self.layer: nn.Module | None = None
        self.key: int | torch.Tensor | None = None
        self.call: int | torch.Tensor = 0
        self.rate: float | torch.Tensor | None = None
        self.shared: tuple[int, ...] | None = None


given_address = _GivenAddress()


class MaskAddress(TypedDict):
    """The keyword arguments that a function takes from its layer, but for the rate."""

    key: int | torch.Tensor | None
    call: int | torch.Tensor


def register_address(layer: nn.Module) -> None:
    """Add the buffers ``key``, ``call`` and ``rate``, None and outside the state dict."""
    for name in ("key", "call", "rate"):
        layer.register_buffer(name, None, persistent=False)


class Addressed(nn.Module):
    """Base of all dropout layers: the rate ``p`` and three non-persistent buffers, None until somebody sets them.

    Attributes:
        p: probability of dropping, as it was given.
        key: 0-dim int64, the 64-bit key of the masks; None draws one from torch's default generator per call.
        call: 0-dim int64, the number of the training forward pass; None is 0.
        rate: 0-dim float64 that takes the place of ``p``: a schedule or a member changes it without a recompile.
    """

    p: float
    key: torch.Tensor | None
    call: torch.Tensor | None
    rate: torch.Tensor | None

    def __init__(self, p: float) -> None:
        super().__init__()
        self._set_up(p)

    def _set_up(self, p: float) -> None:
        """Check the rate and add the buffers. A layer that takes torch's ``__init__`` calls this itself."""
        check_p(p)
        register_address(self)
        self.p = p

    @property
    def _rate(self) -> float | torch.Tensor:
        if given_address.layer is self and given_address.rate is not None:
            return given_address.rate
        return self.p if self.rate is None else self.rate

    @property
    def _mask_address(self) -> MaskAddress:
        if given_address.layer is self:
            return {"key": given_address.key, "call": given_address.call}
        call = self.call
        return {"key": self.key, "call": 0 if call is None else call}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        rate = self.rate
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if rate is not None and self.rate is not None and self.rate.dtype != rate.dtype:
            self.rate = rate.to(self.rate.device)  # model.half() must not round the rate
        return self


def dropout_layers(model: nn.Module) -> dict[str, Addressed]:
    """The dropout layers of ``model`` by qualified name, in the order of ``named_modules``."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Addressed)}
