"""Dropout for PyTorch: reproducible masks at memory speed, and the study that tells whether it helps.

``import thinned`` imports torch and numpy only. ``thinned.datasets``, ``thinned.estimators`` and ``thinned.study`` are
loaded at first use; the last two need ``pip install 'thinned[study]'``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thinned import ensemble, functional, layers, masks, schedules, uncertainty
from thinned.audits import Audit, Finding, audit
from thinned.batchnorm import recalibrate_batchnorm
from thinned.conversion.api import ConversionReport, address, convert
from thinned.errors import InputError
from thinned.functional import scaled_dot_product_attention
from thinned.init import dropout_init_
from thinned.layers import (
    AlphaDropout,
    BatchDropout,
    ConcreteDropout,
    DropBlock2d,
    DropConnect,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropoutAdd,
    DropPath,
    EmbeddingDropout,
    FeatureAlphaDropout,
    GaussianDropout,
    LockedDropout,
    MultiheadAttention,
    WordDropout,
    drop_connect,
)
from thinned.tracing import sites

if TYPE_CHECKING:
    from thinned import datasets, estimators
    from thinned.studies.api import Study, study
    from thinned.studies.design.arm import Arm
    from thinned.studies.design.setting import Setting

__all__ = [
    "AlphaDropout",
    "Arm",
    "Audit",
    "BatchDropout",
    "ConcreteDropout",
    "ConversionReport",
    "DropBlock2d",
    "DropConnect",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutAdd",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "Finding",
    "GaussianDropout",
    "InputError",
    "LockedDropout",
    "MultiheadAttention",
    "Setting",
    "Study",
    "WordDropout",
    "__version__",
    "address",
    "audit",
    "convert",
    "datasets",
    "drop_connect",
    "dropout_init_",
    "ensemble",
    "estimators",
    "functional",
    "layers",
    "masks",
    "recalibrate_batchnorm",
    "scaled_dot_product_attention",
    "schedules",
    "sites",
    "study",
    "uncertainty",
]

__version__ = "0.1.0"


_STUDY_NAMES = {
    "Arm": "thinned.studies.design.arm",
    "Setting": "thinned.studies.design.setting",
    "Study": "thinned.studies.api",
    "study": "thinned.studies.api",
}


def __getattr__(name: str) -> Any:
    try:
        if name in {"datasets", "estimators"}:
            return importlib.import_module(f"thinned.{name}")
        if name in _STUDY_NAMES:
            return getattr(importlib.import_module(_STUDY_NAMES[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"thinned.{name} needs the study extra, {error}; pip install 'thinned[study]'") from error
    raise AttributeError(f"module 'thinned' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
