"""Versions, instruction set and trainer: with the plan, the bits of trained networks follow from them."""

import functools
import platform
from importlib import metadata
from pathlib import Path

import torch

from thinned.kernels import native

__all__ = ["environment", "instruction_set", "versions"]

_PACKAGES = ("thinned", "torch", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of the packages that compute, and ``instruction_set``: networks of one's own follow from them."""
    return {name: metadata.version(name) for name in _PACKAGES} | {"instruction_set": instruction_set()}


def environment() -> dict[str, str]:
    """:func:`versions`, and the ``trainer`` of the study's own network."""
    trainer = native.trainer_isa()
    return versions() | {"trainer": "torch" if trainer is None else f"native {trainer}"}


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
