"""The linear layer behind a dropout: watched in the weight-scaled pass, then fed with sums in place of its input."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from thinned.ensemble.doubling import Additive
from thinned.ensemble.forward import Passes
from thinned.ensemble.mask_sources import Off
from thinned.kernels.form import Form

__all__ = ["Head"]


class Head:
    """What takes the dropped tensor of the only chosen site, if that is a linear layer and nothing else.

    Attributes:
        passes: of the model.
        module: the layer; None where there is no such.
    """

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.module: nn.Linear | None = None
        self._seen: list[tuple[Any, torch.Tensor, int]] = []  # input, output and its version
        self._fed: torch.Tensor | None = None
        [site, *others] = passes.sites
        if not others and len(site.consumers) == 1 and site.consumers[0].name == "Linear":
            module = passes.module(site.consumers[0].module)
            self.module = module if type(module) is nn.Linear else None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, the layer's calls are seen, and it can be fed."""
        handle = None if self.module is None else self.module.register_forward_hook(self._hook)
        try:
            yield
        finally:
            if handle is not None:
                handle.remove()

    def _hook(self, _: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if self._fed is None:
            self._seen.append((args[0] if args else None, output, output._version))
        return self._fed

    def sums(self, off: Mapping[str, Off]) -> Additive | None:
        """The layer's sums; None where its output is not one for each sub-network, of units that examples share.

        Args:
            off: the deciders of the pass that was watched.
        """
        [decider] = off.values() if len(off) == 1 else [None]
        if self.module is None or decider is None or len(self._seen) != 1:
            return None
        hidden, dropped = self._seen[0][0], decider.dropped
        shared = len(decider.decisions) == 2 and decider.decisions[0] == 1
        if dropped is None or hidden is not dropped or not shared or decider.form is not Form.DROPOUT:
            return None
        return Additive.of(self.module, dropped, decider.p)

    def is_last(self, output: torch.Tensor) -> bool:
        """Whether the model's output is that of the layer, or a view of it."""
        _, seen, version = self._seen[0]
        same = output.untyped_storage().data_ptr() == seen.untyped_storage().data_ptr()
        return same and output.numel() == seen.numel() and seen._version == version

    def behind(self, chunks: Iterable[torch.Tensor], shape: torch.Size) -> Iterator[torch.Tensor]:
        """The model's outputs, each of ``shape``, for the layer's; what stands behind the layer is run as it is."""
        _, seen, _ = self._seen[0]
        off = self.passes.off()

        def run(output: torch.Tensor) -> torch.Tensor:
            self._fed = output
            try:
                return self.passes.one(off)
            finally:
                self._fed = None

        for chunk in chunks:
            yield self.passes.batched(run, chunk.reshape(-1, *seen.shape)).reshape(-1, *shape)
