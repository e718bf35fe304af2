"""Stateless dropout: every layer has its function here, with torch's names where torch has them.

A mask is a pure function of ``(key, call, index)``. ``p`` may be a 0-dim float64 tensor, ``key`` and ``call`` 0-dim
int64 tensors, wherever a rate or an address is to change without a recompile.
"""

from thinned.functional.attention import drop_head_attention, scaled_dot_product_attention
from thinned.functional.branch import bias_dropout_add
from thinned.functional.concrete import concrete_dropout
from thinned.functional.elementwise import alpha_dropout, drop_connect, dropout, dropout_add, gaussian_dropout
from thinned.functional.selection import thinned_linear
from thinned.functional.spatial import dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from thinned.functional.stochastic_depth import layer_drop, stochastic_depth
from thinned.functional.structured import drop_block2d, drop_head, drop_path
from thinned.functional.words import embedding, word_dropout

__all__ = [
    "alpha_dropout",
    "bias_dropout_add",
    "concrete_dropout",
    "drop_block2d",
    "drop_connect",
    "drop_head",
    "drop_head_attention",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dropout_add",
    "embedding",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "layer_drop",
    "scaled_dot_product_attention",
    "stochastic_depth",
    "thinned_linear",
    "word_dropout",
]
