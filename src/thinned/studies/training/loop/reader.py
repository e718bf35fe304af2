"""Batches on the device that trains."""

import multiprocessing
import sys
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from thinned.errors import InputError
from thinned.studies.examples.batch import Batch
from thinned.studies.examples.examples import ExampleSet, Part
from thinned.studies.examples.sources import ArraySource, Source
from thinned.studies.user_code import user_code

__all__ = ["Reader"]

# named, since a process of joblib's has a default of its own, in which torch can't start one
_CONTEXT = "fork" if sys.platform == "linux" else "spawn"
_READABLE = "every item of the data must be readable"
_ON_DEVICE = 2 * 2**30  # bytes of examples that an accelerator holds as a whole


class Reader:
    """Reads batches of examples: at once from memory, or through ``torch.utils.data``.

    Args:
        examples: the examples.
        device: where the batches go.
        workers: processes that read what is not in memory.
    """

    def __init__(self, examples: ExampleSet, device: torch.device, workers: int = 0) -> None:
        self._examples, self._device = examples, device
        # some engines' processes may have no children; what is read is the same
        self._workers = 0 if multiprocessing.current_process().daemon else workers
        self._moved: dict[int, ArraySource] = {}

    def batches(self, part: Part, indices: Sequence[torch.Tensor], key: int = 0) -> Iterator[Batch]:
        """One batch after another.

        Args:
            part: "train", "eval" or "test".
            indices: those of each batch's examples.
            key: that augmentation follows from.
        """
        source = self._examples.source(part)
        if isinstance(source, ArraySource):
            source = self._on_device(source)
            for rows in indices:
                yield source.batch(rows.to(source.y.device)).to(self._device)
        elif self._workers:
            pinned = self._device.type == "cuda"
            loader = DataLoader(
                _Read(source, indices, key),
                batch_size=None,
                num_workers=min(self._workers, len(indices)),
                collate_fn=_same,  # type: ignore[arg-type]
                pin_memory=pinned,
                multiprocessing_context=_CONTEXT,
            )
            with user_code(_READABLE):
                for batch in loader:
                    if isinstance(batch, Exception):
                        raise batch
                    yield batch.to(self._device)
        else:
            for rows in indices:
                with user_code(_READABLE):
                    batch = source.batch(rows, key)
                yield batch.to(self._device)

    def _on_device(self, source: ArraySource) -> ArraySource:
        if self._device.type == "cpu" or source.nbytes > _ON_DEVICE:
            return source
        if id(source) not in self._moved:
            self._moved[id(source)] = source.to(self._device)
        return self._moved[id(source)]


class _Read(Dataset[Batch | Exception]):
    """A dataset whose items are whole batches, which worker processes read; what they raise is an item, too."""

    def __init__(self, source: Source, indices: Sequence[torch.Tensor], key: int) -> None:
        self._source, self._indices, self._key = source, indices, key

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> Batch | Exception:
        try:  # torch would make several lines of an error of ours
            with user_code(_READABLE):
                return self._source.batch(self._indices[number], self._key)
        except InputError as error:
            return error


def _same(batch: Batch | Exception) -> Batch | Exception:
    return batch
