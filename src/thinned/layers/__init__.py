"""Dropout layers. A layer holds its rate and the address of its masks; the arithmetic is in ``functional``."""

from thinned.layers.alpha import AlphaDropout, FeatureAlphaDropout
from thinned.layers.attention import DropHead, MultiheadAttention, ThinnedAttention
from thinned.layers.base import Addressed
from thinned.layers.concrete import ConcreteDropout
from thinned.layers.drop_block import DropBlock2d
from thinned.layers.drop_path import DropPath, LayerDrop, StochasticDepth, every_other
from thinned.layers.dropconnect import DropConnect, drop_connect
from thinned.layers.dropout import BatchDropout, Dropout, LockedDropout
from thinned.layers.gaussian import GaussianDropout
from thinned.layers.residual import DropoutAdd
from thinned.layers.spatial import Dropout1d, Dropout2d, Dropout3d
from thinned.layers.sub_network import ThinnedFeedForward, ThinnedMLP
from thinned.layers.words import EmbeddingDropout, WordDropout

__all__ = [
    "Addressed",
    "AlphaDropout",
    "BatchDropout",
    "ConcreteDropout",
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
    "FeatureAlphaDropout",
    "GaussianDropout",
    "LayerDrop",
    "LockedDropout",
    "MultiheadAttention",
    "StochasticDepth",
    "ThinnedAttention",
    "ThinnedFeedForward",
    "ThinnedMLP",
    "WordDropout",
    "drop_connect",
    "every_other",
]
