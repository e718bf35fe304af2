"""Sources of a site's mask in a pass of the ensemble: no mask, a member's sampled mask, or a fixed mask."""

import math

import torch

from thinned import ops
from thinned.kernels.address import Region
from thinned.kernels.form import Form

__all__ = ["FixedMask", "MaskSource", "NoMask", "SampledMask"]

_ALPHA = -1.7580993408473766  # the saturation value of SELU: minus its scale times its alpha


class MaskSource(ops.Decider):
    """Stands in place of a site's key. Examples share a mask, so that a member is one network for all of them.

    Args:
        batch_axis: axis of examples of the dropped tensor; None where it has no such axis.
    """

    def __init__(self, batch_axis: int | None) -> None:
        self.batch_axis = batch_axis

    def shared_by_examples(self, region: Region) -> Region:
        """The region with the axis of examples among its shared axes."""
        if self.batch_axis is None or self.batch_axis in region.shared:
            return region
        return region._replace(shared=tuple(sorted((*region.shared, self.batch_axis))))


class NoMask(MaskSource):
    """Drops nothing, and notes the mask that the site would have had.

    Attributes:
        mask_shape: shape of the mask, 1 along shared axes; () until the site has run.
        p: probability of dropping.
        form: noise of the site.
        dropped: tensor that the site would have dropped.
    """

    def __init__(self, batch_axis: int | None) -> None:
        super().__init__(batch_axis)
        self.mask_shape: tuple[int, ...] = ()
        self.p = 0.0
        self.form = Form.DROPOUT
        self.dropped: torch.Tensor | None = None

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """``x``, plus the residual if there is one."""
        if not torch._C._are_functorch_transforms_active():
            shared = self.shared_by_examples(region).shared
            self.mask_shape = tuple(1 if axis in shared else size for axis, size in enumerate(x.shape))
            self.p, self.form, self.dropped = float(p), form, x
        return x if residual is None else residual + x


class SampledMask(MaskSource):
    """A member's mask, drawn at its key (int64, 0-dim)."""

    def __init__(self, batch_axis: int | None, key: torch.Tensor) -> None:
        super().__init__(batch_axis)
        self.key = key

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """Drop as an addressed site does."""
        region = self.shared_by_examples(region)
        return ops.apply(x, p, self.key, 0, region=region, residual=residual, form=form)


class FixedMask(MaskSource):
    """A given mask: bool, of the shape that :class:`NoMask` noted. Survivors are scaled by 1 / (1 − p)."""

    def __init__(self, batch_axis: int | None, mask: torch.Tensor) -> None:
        super().__init__(batch_axis)
        self.mask = mask

    def drop(
        self,
        x: torch.Tensor,
        p: float | torch.Tensor,
        region: Region,  # noqa: ARG002 - the mask has its shape already
        residual: torch.Tensor | None,
        form: Form,
    ) -> torch.Tensor:
        """Scale ``x`` where the mask is true; alpha dropout maps both kinds of element by its affine function."""
        keep = 1 - float(p)
        if form is Form.ALPHA:
            a = 1 / math.sqrt(keep * (1 + (1 - keep) * _ALPHA**2)) if keep else 0.0
            b = -a * (1 - keep) * _ALPHA
            return torch.where(self.mask, a * x + b, a * _ALPHA + b)
        out = torch.where(self.mask, x / keep if keep else x, 0)
        return out if residual is None else residual + out
