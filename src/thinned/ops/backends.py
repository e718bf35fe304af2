"""The choice of a backend, and one call of it."""

import math
from typing import NamedTuple

import torch

from thinned.errors import sentence
from thinned.kernels import aten, native, reference
from thinned.kernels.address import Address, Region
from thinned.kernels.backend import Backend
from thinned.kernels.form import Form

__all__ = ["IMPLEMENTATIONS", "Choice", "MaskedCall", "choice"]

IMPLEMENTATIONS = ("auto", "native", "aten", "reference")
_BACKENDS: dict[str, Backend] = {"native": native, "aten": aten, "reference": reference}


class Choice(NamedTuple):
    """The backend that runs a call, and why."""

    impl: str
    reason: str


def choice(x: torch.Tensor, impl: str = "auto") -> Choice:
    """Choose the backend that runs dropout of ``x``. Only ``"auto"`` chooses; a named backend runs or fails.

    Raises:
        ValueError: ``impl`` is unknown.
        NotImplementedError: the named backend can't run on the device of ``x``.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(sentence(f"impl must be one of {', '.join(IMPLEMENTATIONS)}", f"got impl={impl!r}"))
    if impl == "native" and not x.is_cpu:
        raise NotImplementedError(
            sentence("the native backend needs a CPU tensor", f"got one on {x.device}", "use impl='aten' or 'auto'")
        )
    if impl == "native" and x.dtype not in native.DTYPES:
        raise NotImplementedError(
            sentence("the native backend takes f32, f64, bf16 and f16", f"got {x.dtype}", "use impl='aten' or 'auto'")
        )
    if impl != "auto":
        return Choice(impl, "named by the caller")
    if not x.is_cpu:
        return Choice("aten", f"x is on {x.device}, and the native kernels are for the CPU")
    if x.dtype not in native.DTYPES:
        return Choice("aten", f"x is {x.dtype}, and the native kernels take f32, f64, bf16 and f16")
    return Choice("native", f"x is on the CPU; instruction set {native.isa()}")


def _gaussian(x: torch.Tensor, normals: torch.Tensor, keep: int | torch.Tensor) -> torch.Tensor:
    """``x * (1 + sigma * normals)`` with sigma² = (1 − q) / q; ``normals`` broadcasts against ``x``."""
    wide = x if x.dtype.itemsize > 2 else x.float()  # half precision: computed in float, rounded once
    if isinstance(keep, torch.Tensor):
        q = keep.double() / 65536
        sigma = aten.sqrt((1 - q) / q).to(wide.dtype).to(x.device)
        noise = normals.to(wide.dtype) * (sigma[(...,) + (None,) * (x.ndim - 1)] if keep.ndim else sigma)
    else:
        if not keep:
            raise ValueError(
                sentence("p must lie in [0, 1) for Gaussian noise", "got p=1", "its variance is p / (1 - p)")
            )
        kept = keep / 65536
        noise = normals.to(wide.dtype) * math.sqrt((1 - kept) / kept)
    return (wide * noise.add_(1.0)).to(x.dtype)


class MaskedCall(NamedTuple):
    """One call of a backend, apart from its tensors."""

    address: Address
    region: Region
    form: Form
    impl: str

    def backward(self) -> "MaskedCall":
        """The call that maps a gradient of the output to one of x."""
        form = self.form.backward
        return self if form is self.form else self._replace(form=form)

    def run(self, x: torch.Tensor, residual: torch.Tensor | None, out: torch.Tensor | None) -> torch.Tensor:
        """Run the backend that ``impl`` names; only "auto" chooses one."""
        address, region, form, impl = self
        quick = impl == "auto" and x.is_cpu and x.dtype in native.DTYPES  # without the reason for the choice
        backend: Backend = native if quick else _BACKENDS[choice(x, impl).impl]
        if form is Form.GAUSSIAN:
            noisy = _gaussian(x, backend.normals(x, address, region), address.keep)
            return noisy if out is None else out.copy_(noisy)
        return backend.dropout(x, address, region, out, residual, form)
