"""What may stand in place of a site's key while sub-networks run: nothing dropped, a member's mask, or a given mask."""

import math

import torch

from thinned import ops
from thinned.kernels.address import Region
from thinned.kernels.form import Form

__all__ = ["Drawn", "Given", "Off"]

_ALPHA = -1.7580993408473766  # where SELU saturates: minus its scale times its alpha


class _Shared(ops.Decider):
    """Examples share a mask, so that a member is one network for all of them, however they are batched.

    Args:
        axis: along which the examples of a dropped tensor lie; None where it has no such axis.
    """

    def __init__(self, axis: int | None) -> None:
        self.axis = axis

    def region(self, region: Region) -> Region:
        """With the examples' axis among the shared ones."""
        if self.axis is None or self.axis in region.shared:
            return region
        return region._replace(shared=tuple(sorted((*region.shared, self.axis))))


class Off(_Shared):
    """Drops nothing, and notes what would have been decided.

    Attributes:
        decisions: shape of the mask, 1 along shared axes; () until the site has run.
        p: probability of dropping.
        form: what is computed of a decision.
        dropped: the tensor that would have been dropped.
    """

    def __init__(self, axis: int | None) -> None:
        super().__init__(axis)
        self.decisions: tuple[int, ...] = ()
        self.p = 0.0
        self.form = Form.DROPOUT
        self.dropped: torch.Tensor | None = None

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """``x``, with the residual where there is one."""
        if not torch._C._are_functorch_transforms_active():
            shared = self.region(region).shared
            self.decisions = tuple(1 if axis in shared else size for axis, size in enumerate(x.shape))
            self.p, self.form, self.dropped = float(p), form, x
        return x if residual is None else residual + x


class Drawn(_Shared):
    """A member's mask, drawn at its key (int64, 0-dim)."""

    def __init__(self, axis: int | None, key: torch.Tensor) -> None:
        super().__init__(axis)
        self.key = key

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """As an addressed site drops."""
        return ops.apply(x, p, self.key, 0, region=self.region(region), residual=residual, form=form)


class Given(_Shared):
    """A mask that is given (bool, of the shape that :class:`Off` noted); survivors are scaled by 1 / (1 − p)."""

    def __init__(self, axis: int | None, mask: torch.Tensor) -> None:
        super().__init__(axis)
        self.mask = mask

    def drop(
        self,
        x: torch.Tensor,
        p: float | torch.Tensor,
        region: Region,  # noqa: ARG002 - the mask has its shape already
        residual: torch.Tensor | None,
        form: Form,
    ) -> torch.Tensor:
        """``x`` where the mask is true, scaled; alpha dropout's affine maps of both kinds of element."""
        keep = 1 - float(p)
        if form is Form.ALPHA:
            a = 1 / math.sqrt(keep * (1 + (1 - keep) * _ALPHA**2)) if keep else 0.0
            b = -a * (1 - keep) * _ALPHA
            return torch.where(self.mask, a * x + b, a * _ALPHA + b)
        out = torch.where(self.mask, x / keep if keep else x, 0)
        return out if residual is None else residual + out
