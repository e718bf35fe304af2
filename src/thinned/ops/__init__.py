"""Dropout as an operation of torch: the choice of a backend, gradients, and rules under transforms."""

from thinned.ops.backends import IMPLEMENTATIONS, Choice, choice
from thinned.ops.dispatch import Decider, apply, draw_key
from thinned.ops.placement import Placement, placed, placement

__all__ = ["IMPLEMENTATIONS", "Choice", "Decider", "Placement", "apply", "choice", "draw_key", "placed", "placement"]
