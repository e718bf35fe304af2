"""The choice of a backend, and one call of it."""

import functools
import importlib
import math
import os
from typing import NamedTuple

import torch

from thinned.errors import sentence
from thinned.kernels import aten, native, reference
from thinned.kernels.address import Address, Region
from thinned.kernels.backend import Backend
from thinned.kernels.form import Form

__all__ = ["IMPLEMENTATIONS", "Choice", "MaskedCall", "choice"]

IMPLEMENTATIONS = ("auto", "native", "triton", "aten", "reference")
_BACKENDS: dict[str, Backend] = {"native": native, "aten": aten, "reference": reference}
_TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_CAPABILITY = (7, 0)
_INSTALL = "pip install 'thinned[triton]'"


class Choice(NamedTuple):
    """The backend that runs a call, and why."""

    impl: str
    reason: str


@functools.cache
def _triton() -> Backend | ImportError:
    """The Triton backend, imported at its first use, or the reason why it is unavailable."""
    try:
        module: Backend = importlib.import_module("thinned.kernels.triton.backend")
    except ImportError as error:
        return error
    return module


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def choice(x: torch.Tensor, impl: str = "auto") -> Choice:
    """Choose the backend that runs dropout of ``x``. Only ``"auto"`` chooses; a named backend runs or fails.

    Raises:
        ValueError: ``impl`` is unknown.
        NotImplementedError: the named backend can't run on the device or dtype of ``x``, or is not installed.
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
    if impl == "triton" and not torch.compiler.is_compiling():  # Dynamo can't trace an import; the operator checks
        _check_triton(x)
    if impl != "auto":
        return Choice(impl, "named by the caller")
    if x.is_cuda:
        return _choice_on_gpu(x)
    if not x.is_cpu:
        return Choice("aten", f"x is on {x.device}, and the kernels are for CPU, CUDA and ROCm")
    if x.dtype not in native.DTYPES:
        return Choice("aten", f"x is {x.dtype}, and the native kernels take f32, f64, bf16 and f16")
    return Choice("native", f"x is on the CPU; instruction set {native.isa()}")


def _check_triton(x: torch.Tensor) -> None:
    backend = _triton()
    if isinstance(backend, ImportError):
        raise NotImplementedError(
            sentence("impl='triton' needs Triton", f"importing it failed with: {backend}", f"{_INSTALL}, or use 'auto'")
        )
    if x.dtype not in _TRITON_DTYPES:
        raise NotImplementedError(
            sentence("the Triton backend takes f32, bf16 and f16", f"got {x.dtype}", "use impl='aten' or 'auto'")
        )
    if not x.is_cuda and not _interpreted():
        raise NotImplementedError(
            sentence("the Triton backend needs a CUDA or ROCm tensor", f"got one on {x.device}", "use impl='auto'")
        )


def _choice_on_gpu(x: torch.Tensor) -> Choice:
    backend = _triton()
    if isinstance(backend, ImportError):
        return Choice("aten", f"x is on {x.device}, and Triton can't be imported ({backend}); {_INSTALL}")
    if x.dtype not in _TRITON_DTYPES:
        return Choice("aten", f"x is {x.dtype}, and the Triton kernels take f32, bf16 and f16")
    if torch.version.hip is None and torch.cuda.get_device_capability(x.device) < _CAPABILITY:
        return Choice("aten", f"{x.device} is older than Triton's oldest: compute capability {_CAPABILITY[0]}")
    return Choice("triton", f"x is on {x.device}")


def _gaussian(x: torch.Tensor, normals: torch.Tensor, keep: int | torch.Tensor) -> torch.Tensor:
    """``x * (1 + sigma * normals)`` with sigma² = (1 − q) / q; ``normals`` broadcasts against ``x``."""
    wide = x if x.dtype.itemsize > 2 else x.float()  # half precision: computed in float, rounded once
    if isinstance(keep, torch.Tensor):
        q = keep.double() / 65536
        sigma = aten.sqrt((1 - q) / q).to(wide.dtype).to(x.device)
        noise = normals.to(wide.dtype) * (sigma[(...,) + (None,) * (x.ndim - 1)] if keep.ndim else sigma)
    else:
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
        name = "native" if quick else choice(x, impl).impl
        backend = _backend(name)
        if form is Form.GAUSSIAN:
            _check_variance(address.keep)
            if name != "triton":
                noisy = _gaussian(x, backend.normals(x, address, region), address.keep)
                return noisy if out is None else out.copy_(noisy)
        return backend.dropout(x, address, region, out, residual, form)


def _backend(name: str) -> Backend:
    if name != "triton":
        return _BACKENDS[name]
    backend = _triton()
    if isinstance(backend, ImportError):
        raise backend
    return backend


def _check_variance(keep: int | torch.Tensor) -> None:
    if not isinstance(keep, torch.Tensor) and not keep:
        raise ValueError(sentence("p must lie in [0, 1) for Gaussian noise", "got p=1", "its variance is p / (1 - p)"))
