"""The one interface of all backends. Each backend is a module; all give bitwise equal masks."""

from typing import Protocol

import torch

from thinned.kernels.address import WHOLE, Address, Region
from thinned.kernels.form import Form

__all__ = ["Backend"]


class Backend(Protocol):
    """A module that computes dropout, without autograd."""

    def dropout(
        self,
        x: torch.Tensor,
        address: Address,
        region: Region = WHOLE,
        out: torch.Tensor | None = None,
        residual: torch.Tensor | None = None,
        form: Form = Form.DROPOUT,
    ) -> torch.Tensor:
        """Decide on each element of ``x`` and compute the form's result.

        Args:
            x: floating-point tensor; with members, they are its leading axis.
            address: key, call and keep threshold.
            region: the part of the mask that ``x`` is; counts a member's own axes.
            out: tensor for the result, possibly ``x`` itself; None allocates.
            residual: tensor like ``x``, for ``Form.ADD`` only.
            form: the arithmetic on decisions; not ``Form.GAUSSIAN``.
        """
        ...

    def normals(self, x: torch.Tensor, address: Address, region: Region = WHOLE) -> torch.Tensor:
        """The standard normals (:func:`thinned.philox.normals`) for the elements of ``x``.

        Returns:
            float32 on the device of ``x``, of its shape but 1 along shared axes; with members, they come first.
        """
        ...
