"""What every dropout layer holds: its rate and the address of its masks."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from thinned.errors import check_p

__all__ = ["Addressed", "Where", "given_address"]


class _GivenAddress(threading.local):
    """The address that a running forward pass gives to the layer that this thread calls.

    Attributes:
        layer: the layer; None between calls.
        key: key of its next mask; None where the key is to be drawn.
        call: number of the training forward pass.
    """

    layer: nn.Module | None = None
    key: int | torch.Tensor | None = None
    call: int | torch.Tensor = 0


given_address = _GivenAddress()


class Where(NamedTuple):
    """The keyword arguments that a functional form takes from its layer, but for the rate."""

    key: int | torch.Tensor | None
    call: int | torch.Tensor


class Addressed(nn.Module):
    """Base of all dropout layers: the rate ``p`` and three non-persistent buffers, None until somebody sets them.

    Attributes:
        p: probability of dropping, as it was given.
        key: 0-dim int64, the 64-bit key of the masks; None draws one from torch's default generator per call.
        call: 0-dim int64, the number of the training forward pass; None is 0.
        rate: 0-dim float64 that takes the place of ``p``: a schedule or a member changes it without a recompile.
    """

    key: torch.Tensor | None
    call: torch.Tensor | None
    rate: torch.Tensor | None

    def _hold(self, p: float) -> None:
        """Check the rate and add the buffers; for layers whose ``__init__`` is that of a torch module."""
        check_p(p)
        self.p = p
        for name in ("key", "call", "rate"):
            self.register_buffer(name, None, persistent=False)

    @property
    def _rate(self) -> float | torch.Tensor:
        return self.p if self.rate is None else self.rate

    @property
    def _where(self) -> dict[str, Any]:
        if given_address.layer is self:
            return Where(given_address.key, given_address.call)._asdict()
        return Where(self.key, 0 if self.call is None else self.call)._asdict()

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        rate = self.rate
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if rate is not None and self.rate is not None and self.rate.dtype != rate.dtype:
            self.rate = rate.to(self.rate.device)  # model.half() must not round the rate
        return self
