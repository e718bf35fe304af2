"""Versions, instruction set and trainer: with the plan, the bits of trained networks follow from them."""

import functools
import platform
from importlib import metadata
from pathlib import Path

import torch

from thinned.kernels import native

__all__ = ["environment", "instruction_set"]

_PACKAGES = ("thinned", "torch", "numpy", "scikit-learn")


def environment() -> dict[str, str]:
    """Versions of the packages that compute, ``instruction_set``, and the ``trainer`` of the study's own network."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    trainer = f"native {native.isa()}" if native.trains() else "torch"
    return versions | {"instruction_set": instruction_set(), "trainer": trainer}


@functools.cache
def instruction_set() -> str:
    """Architecture, vector instructions and vendor of the processor, as "x86_64 AVX512 AuthenticAMD".

    The vendor matters because math libraries choose other code paths for it: square roots and logarithms of torch
    differ in the last bit between Intel and AMD.
    """
    parts = [platform.machine(), torch.backends.cpu.get_cpu_capability(), _vendor()]
    return " ".join(part for part in parts if part)


def _vendor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
