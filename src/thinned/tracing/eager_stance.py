"""Runs functions that torch.compile compiled without compilation, in several threads at once."""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["eager_stance"]

_lock = threading.Lock()
_depth = 0
_stance = ExitStack()


@contextmanager
def eager_stance() -> Iterator[None]:
    """Run compiled functions eagerly within.

    The stance of torch.compile is one of the process. Passes that overlap share it: the first sets it and the last puts
    the former one back, in whatever order they end.
    """
    global _depth  # noqa: PLW0603 - the stance itself is global
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import would take a second
        yield
        return
    with _lock:
        if _depth == 0:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _stance.close()
