"""Where batches come from: arrays in memory, or a map-style dataset."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from thinned import philox
from thinned.errors import InputError, sentence
from thinned.studies.examples.batch import Batch, Inputs, as_batch, input_tensors, map_inputs
from thinned.studies.examples.generators import seed_generators, seeded_generators
from thinned.studies.examples.pickling import PickledByValue

__all__ = ["ArraySource", "Collate", "DatasetSource", "Items", "Source", "differs", "read_all", "sample_indices"]

Collate = Callable[[list[object]], object]
_SAMPLE = 64  # items by which a dataset is known
_READ = 256  # items read at once
_HELD = 512 * 2**20  # bytes of a dataset that is held in memory


class Items(Protocol):
    """A map-style dataset: :class:`torch.utils.data.Dataset` with a length, a list, or anything alike."""

    def __len__(self) -> int:
        """The number of items."""
        ...

    def __getitem__(self, index: int, /) -> object:
        """One item, a pair of input and target."""
        ...


class Source(Protocol):
    """Gives batches of the examples with these indices."""

    #: whether all examples are in memory
    held: bool

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def batch(self, indices: torch.Tensor, key: int = 0) -> Batch:
        """The examples of these indices; what is drawn on the way follows from the key."""
        ...

    def item(self, index: int) -> object:
        """One example, a pair of input and target."""
        ...

    def digest(self) -> str:
        """Hexadecimal hash of the examples."""
        ...


class ArraySource:
    """Examples in memory, which are indexed at once.

    Args:
        x: input tensors, the first axis that of the examples.
        y: targets.
    """

    held = True

    def __init__(self, x: Inputs, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: torch.Tensor, key: int = 0) -> Batch:  # noqa: ARG002 - nothing is drawn
        """The examples of these indices."""
        return Batch(map_inputs(lambda t: t.index_select(0, indices), self.x), self.y.index_select(0, indices))

    def item(self, index: int) -> tuple[Inputs, torch.Tensor]:
        """One example."""
        return map_inputs(lambda t: t[index], self.x), self.y[index]

    def to(self, device: torch.device) -> "ArraySource":
        """The same on a device."""
        return ArraySource(*Batch(self.x, self.y).to(device))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(t.nbytes for t in [*input_tensors(self.x), self.y])

    def digest(self) -> str:
        """Hash of all examples."""
        return _hash([Batch(self.x, self.y)])

    def __getstate__(self) -> tuple[object, object]:
        # arrays, which joblib writes so that all workers of a machine map one copy into memory
        if isinstance(self.x, dict):
            return {name: _packed(t) for name, t in self.x.items()}, _packed(self.y)
        return (_packed(self.x) if isinstance(self.x, torch.Tensor) else [_packed(t) for t in self.x]), _packed(self.y)

    def __setstate__(self, state: tuple[object, object]) -> None:
        x, y = state
        self.y = _unpacked(y)
        if isinstance(x, dict):
            self.x = {name: _unpacked(t) for name, t in x.items()}
        else:
            self.x = tuple(_unpacked(t) for t in x) if isinstance(x, list) else _unpacked(x)


class _Packed(NamedTuple):
    content: npt.NDArray[np.uint8]
    dtype: str
    shape: tuple[int, ...]


def _bytes_of(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    flat: npt.NDArray[np.uint8] = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat


def _packed(tensor: torch.Tensor) -> _Packed:
    return _Packed(_bytes_of(tensor), str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _unpacked(packed: object) -> torch.Tensor:
    assert isinstance(packed, _Packed)  # noqa: S101 - our own
    return torch.from_numpy(packed.content).view(getattr(torch, packed.dtype)).view(packed.shape)


class DatasetSource:
    """A map-style dataset, read item by item.

    Args:
        dataset: its items are pairs of input and target, or whatever ``collate_fn`` takes.
        collate_fn: makes ``(x, y)`` of a list of items; None stacks items of equal shape.
    """

    held = False

    def __init__(self, dataset: Items, collate_fn: Collate | None = None) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: torch.Tensor, key: int = 0) -> Batch:
        """The examples of these indices. Each item's random numbers follow from the key and its index alone."""
        numbers = indices.tolist()
        keys = philox.fold_in_each(key, numbers)
        items = []
        with seeded_generators(key):
            for index, own in zip(numbers, keys, strict=True):
                seed_generators(int(own))
                items.append(self.dataset[index])
            seed_generators(philox.fold_in(philox.fold_in(key, philox.site_number("collate")), numbers[0]))
            return self._collated(items)

    def _collated(self, items: list[object]) -> Batch:
        if self.collate_fn is not None:
            return as_batch(self.collate_fn(items))
        try:
            return as_batch(default_collate(items))
        except RuntimeError as error:  # what torch.stack says of unequal shapes
            requirement = "examples must have equal shapes, or a collate_fn that makes a batch of them"
            raise InputError(
                sentence(requirement, f"stacking says: {error}", "pass collate_fn=, or --collate")
            ) from None
        except TypeError as error:
            requirement = "examples must hold tensors, arrays or numbers"
            remedy = "convert them, as with transform=ToTensor(), or pass collate_fn="
            raise InputError(sentence(requirement, f"collation says: {str(error).splitlines()[0]}", remedy)) from None

    def item(self, index: int) -> object:
        """One item of the dataset itself."""
        return self.dataset[index]

    def digest(self) -> str:
        """Hash of the length and of sampled items."""
        return _hash([self.batch(torch.tensor([index])) for index in sample_indices(len(self))], len(self))

    def __getstate__(self) -> tuple[object, object]:
        collate = None if self.collate_fn is None else PickledByValue(partial(self.collate_fn), "collate_fn")
        return PickledByValue(self.dataset, "the dataset"), collate

    def __setstate__(self, state: tuple[Items, Collate | None]) -> None:
        self.dataset, self.collate_fn = state


def sample_indices(count: int) -> list[int]:
    """The indices of the sampled items, spread over the dataset."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, _SAMPLE))})


def differs(source: DatasetSource, keys: tuple[int, int]) -> int | None:
    """The index of a sampled item that is another one under the second key; None where there is none."""
    for index in sample_indices(len(source)):
        one, two = (source.batch(torch.tensor([index]), key) for key in keys)
        if _hash([one]) != _hash([two]):
            return index
    return None


def read_all(source: DatasetSource) -> tuple[torch.Tensor | None, ArraySource | None]:
    """Read all items once: their targets, and all examples where they are small enough to hold.

    A large dataset that lists its ``targets``, as torchvision's do, is not read as a whole.

    Returns:
        The targets, or None where their shapes differ from batch to batch; then the examples in memory, or None.
    """
    sampled = source.batch(torch.tensor(sample_indices(len(source))[:1]))
    size = sum(t.nbytes for t in [*input_tensors(sampled.x), sampled.y])
    hold = source.collate_fn is None and size * len(source) <= _HELD
    if not hold and (targets := _listed_targets(source)) is not None:
        return targets, None
    batches: list[Batch] = []
    for indices in torch.split(torch.arange(len(source)), _READ):
        batch = source.batch(indices)
        batches.append(batch if hold else Batch((), batch.y))
    if len({batch.y.shape[1:] for batch in batches}) > 1:
        return None, None
    y = torch.cat([batch.y for batch in batches])
    if not hold:
        return y, None
    x = _joined([batch.x for batch in batches])
    return y, None if x is None else ArraySource(x, y)


def _listed_targets(source: DatasetSource) -> torch.Tensor | None:
    """The attribute ``targets`` of a dataset, where it is that of the sampled items."""
    listed: object = getattr(source.dataset, "targets", None)
    try:
        y = torch.as_tensor(listed)
    except (TypeError, ValueError, RuntimeError):
        return None
    sample = torch.tensor(sample_indices(len(source)))
    if y.shape[:1] != (len(source),) or not torch.equal(y[sample], source.batch(sample).y):
        return None
    return y


def _joined(parts: Sequence[Inputs]) -> Inputs | None:
    """Inputs of several batches as one; None where their shapes differ."""
    columns = list(zip(*(input_tensors(part) for part in parts), strict=True))
    if any(len({t.shape[1:] for t in column}) > 1 for column in columns):
        return None
    tensors = [torch.cat(column) for column in columns]
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return tensors[0]
    return dict(zip(first, tensors, strict=True)) if isinstance(first, dict) else tuple(tensors)


def _hash(batches: Sequence[Batch], *numbers: int) -> str:
    digest = hashlib.sha256(repr(numbers).encode())
    for batch in batches:
        names = list(batch.x) if isinstance(batch.x, dict) else []
        digest.update(repr(names).encode())
        for tensor in [*input_tensors(batch.x), batch.y]:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes_of(tensor).data)
    return digest.hexdigest()
