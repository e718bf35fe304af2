"""The examples of a study: what a user hands over, and what the study makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from thinned.studies.examples.batch import Batch
from thinned.studies.examples.notices import ExampleNotice
from thinned.studies.examples.sources import Source
from thinned.studies.examples.targets import ExampleTask
from thinned.uncertainty.representation import describe_value

__all__ = ["ExampleSet", "Examples", "Part"]

Part = Literal["train", "eval", "test"]


@dataclass(frozen=True, repr=False)
class Examples:
    """The examples of a study, where training reads others than evaluation does, or where a test set is given.

    Each is a pair ``(x, y)`` of tensors or arrays, or a map-style ``torch.utils.data.Dataset``. ``x`` is a tensor, a
    tuple or a mapping of tensors; a network is called as ``network(x)``, ``network(*x)`` or ``network(**x)``.

    Args:
        train: what networks are trained on; it may be augmented by random numbers of torch, NumPy or Python.
        eval: the same examples at the same indices, as they are; None takes those of ``train``.
        test: the given test set; None makes test folds of the examples.

    Example:
        >>> import torch, thinned
        >>> x, y = torch.randn(100, 4), torch.randint(3, (100,))
        >>> examples = thinned.Examples((x, y), test=(x[:20], y[:20]))
    """

    train: object
    eval: object = None
    test: object = None

    def __repr__(self) -> str:
        """The shapes of tensors and arrays rather than their elements."""
        parts = {"train": self.train, "eval": self.eval, "test": self.test}
        texts = [f"{name}={_describe(part)}" for name, part in parts.items() if part is not None]
        return f"Examples({', '.join(texts)})"


def _describe(part: object) -> str:
    if isinstance(part, tuple | list):
        return f"({', '.join(_describe(value) for value in part)})"
    if isinstance(part, Mapping):
        return f"{{{', '.join(f'{name!r}: {_describe(value)}' for name, value in part.items())}}}"
    if isinstance(part, Dataset):
        return f"{type(part).__name__} of {len(part)}" if hasattr(part, "__len__") else type(part).__name__
    return describe_value(part)


@dataclass(frozen=True)
class ExampleSet:
    """Examples, checked for a study. It can be copied to workers.

    Attributes:
        name: of the data, for a report.
        count: number of examples that are dealt to training, validation and test folds.
        test_count: number of examples of the given test set; 0 where there is none.
        task: what is predicted.
        classes: names of the classes that occur; ``()`` where an example has not one class.
        target: (count,) class codes for stratification, float64 values for regression, zeros elsewhere.
        sha256: identifies the examples.
        train: where training reads.
        eval: where evaluation reads.
        test: the given test set.
        groups: (count,) int64 number of each example's group.
        notices: what a user should know of them.
        test_groups: (test_count,) the same of the given test set; a group of both sets has one number.
        times: (count,) int64 rank of each example's time; equal times have equal ranks.
    """

    name: str
    count: int
    test_count: int
    task: ExampleTask
    classes: tuple[str, ...]
    target: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    sha256: str
    train: Source
    eval: Source
    test: Source | None = None
    groups: npt.NDArray[np.int64] | None = None
    times: npt.NDArray[np.int64] | None = None
    test_groups: npt.NDArray[np.int64] | None = None
    notices: tuple[ExampleNotice, ...] = ()

    def source(self, part: Part) -> Source:
        """Where the batches of a part come from: "train", "eval" or "test".

        Raises:
            ValueError: there is no test set.
        """
        source = {"train": self.train, "eval": self.eval, "test": self.test}[part]
        if source is None:
            raise ValueError("these examples have no given test set")
        return source

    def batch(self, indices: npt.ArrayLike | torch.Tensor, part: Part = "eval", key: int = 0) -> Batch:
        """Read some examples.

        Args:
            indices: their numbers, from 0.
            part: "train" and "eval" have the same examples, of which the first may be augmented; or "test".
            key: 64-bit number that augmentation follows from, together with the index of an example.
        """
        return self.source(part).batch(torch.as_tensor(indices, dtype=torch.int64), key)
