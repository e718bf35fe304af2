"""Dropout for PyTorch: reproducible masks at memory speed, and the study that tells whether it helps.

``import thinned`` imports torch and numpy only. ``thinned.datasets`` and ``thinned.study`` are loaded at first use; the
study needs ``pip install 'thinned[study]'``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thinned import functional, masks, philox
from thinned.layers import Dropout

if TYPE_CHECKING:
    from thinned import datasets
    from thinned.studies import study

__all__ = ["Dropout", "__version__", "datasets", "functional", "masks", "philox", "study"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return importlib.import_module("thinned.datasets")
    if name == "study":
        return importlib.import_module("thinned.studies").study
    raise AttributeError(f"module 'thinned' has no attribute {name!r}")
