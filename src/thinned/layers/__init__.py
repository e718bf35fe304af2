"""Dropout layers. A layer holds its rate and the address of its masks; the arithmetic is in ``functional``."""

from thinned.layers._addressed import Addressed
from thinned.layers.attention import MultiheadAttention
from thinned.layers.elements import BatchDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, LockedDropout
from thinned.layers.noise import AlphaDropout, ConcreteDropout, DropoutAdd, FeatureAlphaDropout, GaussianDropout
from thinned.layers.structures import (
    DropBlock2d,
    DropConnect,
    DropPath,
    EmbeddingDropout,
    WordDropout,
    drop_connect,
)

__all__ = [
    "Addressed",
    "AlphaDropout",
    "BatchDropout",
    "ConcreteDropout",
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
    "GaussianDropout",
    "LockedDropout",
    "MultiheadAttention",
    "WordDropout",
    "drop_connect",
]
