"""Dropout for PyTorch: reproducible masks at memory speed, and the study that tells whether it helps.

``import thinned`` imports torch and numpy only, and of thinned itself the layers, their functions and masks. The rest
is imported at first use; ``thinned.estimators`` and ``thinned.study`` need ``pip install 'thinned[study]'``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thinned import functional, layers, masks, schedules
from thinned.batchnorm import recalibrate_batchnorm
from thinned.errors import InputError
from thinned.functional import scaled_dot_product_attention
from thinned.init import dropout_init_
from thinned.layers import (
    AlphaDropout,
    BatchDropout,
    ConcreteDropout,
    DropBlock2d,
    DropConnect,
    DropHead,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropoutAdd,
    DropPath,
    EmbeddingDropout,
    FeatureAlphaDropout,
    GaussianDropout,
    LayerDrop,
    LockedDropout,
    MultiheadAttention,
    StochasticDepth,
    ThinnedAttention,
    ThinnedFeedForward,
    ThinnedMLP,
    WordDropout,
    drop_connect,
    every_other,
)

if TYPE_CHECKING:
    from thinned import datasets, ensemble, estimators, uncertainty
    from thinned.audits import Audit, Finding, audit
    from thinned.conversion.api import ConversionReport, address, convert
    from thinned.conversion.insertion import InsertionReport, insert_dropout, remove_dropout
    from thinned.conversion.skipping import SkippingReport, skip_dropped
    from thinned.studies.api import Study, study
    from thinned.studies.callbacks import StudyCallback, mlflow_callback
    from thinned.studies.design.arm import Arm
    from thinned.studies.design.setting import Setting
    from thinned.studies.examples.examples import Examples
    from thinned.studies.model.load import load
    from thinned.studies.model.model import Model
    from thinned.studies.recommended_network.load import load_network
    from thinned.studies.training.own_training.run import TrainingRun
    from thinned.tracing import sites

__all__ = [
    "AlphaDropout",
    "Arm",
    "Audit",
    "BatchDropout",
    "ConcreteDropout",
    "ConversionReport",
    "DropBlock2d",
    "DropConnect",
    "DropHead",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutAdd",
    "EmbeddingDropout",
    "Examples",
    "FeatureAlphaDropout",
    "Finding",
    "GaussianDropout",
    "InputError",
    "InsertionReport",
    "LayerDrop",
    "LockedDropout",
    "Model",
    "MultiheadAttention",
    "Setting",
    "SkippingReport",
    "StochasticDepth",
    "Study",
    "StudyCallback",
    "ThinnedAttention",
    "ThinnedFeedForward",
    "ThinnedMLP",
    "TrainingRun",
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
    "every_other",
    "functional",
    "insert_dropout",
    "layers",
    "load",
    "load_network",
    "masks",
    "mlflow_callback",
    "recalibrate_batchnorm",
    "remove_dropout",
    "scaled_dot_product_attention",
    "schedules",
    "sites",
    "skip_dropped",
    "study",
    "uncertainty",
]

__version__ = "0.1.0"


_LAZY_MODULES = {
    "datasets": "thinned.datasets",
    "ensemble": "thinned.ensemble",
    "estimators": "thinned.estimators",
    "sites": "thinned.tracing.sites",
    "uncertainty": "thinned.uncertainty",
}
_LAZY_NAMES = {
    "Arm": "thinned.studies.design.arm",
    "Audit": "thinned.audits",
    "ConversionReport": "thinned.conversion.api",
    "Examples": "thinned.studies.examples.examples",
    "Finding": "thinned.audits",
    "InsertionReport": "thinned.conversion.insertion",
    "Model": "thinned.studies.model.model",
    "Setting": "thinned.studies.design.setting",
    "SkippingReport": "thinned.conversion.skipping",
    "Study": "thinned.studies.api",
    "StudyCallback": "thinned.studies.callbacks",
    "TrainingRun": "thinned.studies.training.own_training.run",
    "address": "thinned.conversion.api",
    "audit": "thinned.audits",
    "convert": "thinned.conversion.api",
    "insert_dropout": "thinned.conversion.insertion",
    "load": "thinned.studies.model.load",
    "load_network": "thinned.studies.recommended_network.load",
    "mlflow_callback": "thinned.studies.callbacks",
    "remove_dropout": "thinned.conversion.insertion",
    "skip_dropped": "thinned.conversion.skipping",
    "study": "thinned.studies.api",
}


def __getattr__(name: str) -> Any:
    try:
        if name in _LAZY_MODULES:
            value = importlib.import_module(_LAZY_MODULES[name])
        elif name in _LAZY_NAMES:
            value = getattr(importlib.import_module(_LAZY_NAMES[name]), name)
        else:
            raise AttributeError(f"module 'thinned' has no attribute {name!r}")
    except ModuleNotFoundError as error:
        raise ImportError(f"thinned.{name} needs the study extra, {error}; pip install 'thinned[study]'") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
