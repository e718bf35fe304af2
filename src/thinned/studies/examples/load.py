"""Reads the examples of a study in any of their forms, and checks them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, TensorDataset

from thinned.errors import InputError, sentence
from thinned.import_path import import_object, working_directory
from thinned.studies.examples.batch import as_batch, input_tensors
from thinned.studies.examples.examples import Examples, ExampleSet
from thinned.studies.examples.groups import read_groups, read_numbers
from thinned.studies.examples.notices import example_notices
from thinned.studies.examples.sources import ArraySource, Collate, DatasetSource, Source, differs, read_all
from thinned.studies.examples.targets import ExampleTask, check_task, read_targets
from thinned.studies.user_code import memory_errors, user_code

__all__ = ["load_examples"]

_FORMS = "data must be a pair (x, y), a map-style dataset, a pair of a training and a test set, or Examples"
_FEWEST_TESTS = 2  # examples that an interval over them can be made of
_FEWEST = 4  # examples: fewer can't be dealt to training, validation and test


def load_examples(
    data: object,
    *,
    collate_fn: Collate | None = None,
    groups: object = None,
    time: object = None,
    task: ExampleTask | None = None,
    data_version: str | None = None,
    has_loss: bool = False,
) -> ExampleSet:
    """Read examples and settle their task.

    A dataset is read once as a whole, and held in memory where it is small. It must give the same item whenever an
    index is read; what is augmented belongs into ``Examples(train=…, eval=…)``.

    Args:
        data: ``(x, y)`` of tensors or arrays, a map-style ``torch.utils.data.Dataset``, a pair of a training and a test
            set, :class:`Examples`, a function that returns one of these, or its path "module:function".
        collate_fn: makes ``(x, y)`` of a list of items, as in ``torch.utils.data.DataLoader``.
        groups: a name or number for each example; those of a group stay together. With a given test set, a pair of
            those of both sets, or None in place of the second.
        time: a number or date for each example, by which training precedes testing.
        task: overrides what the targets suggest; see :func:`thinned.studies.examples.targets.read_targets`.
        data_version: a name that is changed when the data change, for a dataset that is not held in memory.
        has_loss: the user's own loss trains.

    Raises:
        InputError: the data have another form, can't be indexed, are empty, differ from read to read, or don't fit
            each other.
    """
    check_task(task)
    name, content = _resolve(data)
    with memory_errors(), user_code("every item of the data must be readable"):
        train, evaluation, test = _sources(_parts(content), collate_fn)
        y, plain = _held(evaluation or train)
        test_y, held_test = (None, None) if test is None else _held(test)
    targets = read_targets(y, len(train), task)
    if test is not None:
        read_targets(test_y, len(test), targets.task)
        _check_alike(plain, held_test or test)
    chosen = train if evaluation is not None else plain
    numbers = read_groups(groups, len(train), 0 if test is None else len(test))
    times = None if time is None else read_numbers(time, len(train), "time")
    return ExampleSet(
        name=name,
        count=len(train),
        test_count=0 if test is None else len(test),
        task=targets.task,
        classes=targets.classes,
        target=targets.values,
        sha256=_sha256([chosen, plain, held_test], data_version, numbers.of_examples, numbers.of_test, times),
        train=chosen,
        eval=plain,
        test=held_test,
        groups=numbers.of_examples,
        times=times,
        test_groups=numbers.of_test,
        notices=example_notices(targets, numbers, has_loss=has_loss),
    )


class _Parts(NamedTuple):
    train: object
    eval: object = None
    test: object = None


class _Sources(NamedTuple):
    train: ArraySource | DatasetSource
    eval: ArraySource | DatasetSource | None
    test: ArraySource | DatasetSource | None


def _resolve(data: object) -> tuple[str, object]:
    """The name of the data, and the data that a function returns or a path names."""
    name = type(data).__name__
    if isinstance(data, str):
        name, data = data, import_object(data, "the data")
    if callable(data) and not hasattr(data, "__getitem__"):
        name = name if ":" in name else getattr(data, "__name__", name)
        with memory_errors(), working_directory(), user_code("the function of the data must return them"):
            data = data()
    return {"tuple": "arrays", "list": "a list"}.get(name, name), data


def _parts(data: object) -> _Parts:
    if isinstance(data, Examples):
        return _Parts(data.train, data.eval, data.test)
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_set(part) for part in data):
        return _Parts(data[0], None, data[1])
    return _Parts(data)


def _is_set(value: object) -> bool:
    """Whether this is a set of examples, rather than inputs or targets."""
    if isinstance(value, tuple):
        return len(value) == 2 and _is_array(value[1]) and _is_input(value[0])
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], tuple)
    return not _is_array(value) and not isinstance(value, Mapping) and hasattr(value, "__getitem__")


def _is_array(value: object) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray):
        return True
    return hasattr(value, "__array__")  # a data frame's column


def _is_input(value: object) -> bool:
    parts = list(value.values()) if isinstance(value, Mapping) else value
    return _is_array(value) or (isinstance(parts, tuple | list) and bool(parts) and all(map(_is_array, parts)))


def _sources(parts: _Parts, collate_fn: Collate | None) -> _Sources:
    """Where the parts are read, which can be read again and fit each other."""
    train = _source(parts.train, collate_fn, "the training set")
    evaluation = None if parts.eval is None else _source(parts.eval, collate_fn, "eval")
    test = None if parts.test is None else _source(parts.test, collate_fn, "the test set")
    _check_repeatable(train, evaluation, test)
    if evaluation is not None and len(evaluation) != len(train):
        value = f"train has {len(train):,} and eval {len(evaluation):,}"
        raise InputError(sentence("train and eval must be the same examples at the same indices", value))
    if len(train) < _FEWEST:
        raise InputError(sentence(f"a study needs at least {_FEWEST} examples", f"got {len(train)}"))
    if test is not None and len(test) < _FEWEST_TESTS:
        raise InputError(sentence(f"a given test set needs at least {_FEWEST_TESTS} examples", f"got {len(test)}"))
    return _Sources(train, evaluation, test)


def _source(data: object, collate_fn: Collate | None, name: str) -> ArraySource | DatasetSource:
    if isinstance(data, tuple) and len(data) == 2 and _is_input(data[0]):
        target = torch.tensor(data[1]) if isinstance(data[1], list) else data[1]
        return _arrays(data[0], target, name)
    if isinstance(data, TensorDataset) and len(data.tensors) == 2 and collate_fn is None:
        return _arrays(*data.tensors, name)
    if isinstance(data, IterableDataset) or (hasattr(data, "__iter__") and not hasattr(data, "__getitem__")):
        remedy = "give each example an index: a map-style torch.utils.data.Dataset, or arrays"
        raise InputError(sentence(f"{name} must be map-style", f"{type(data).__name__} can only be iterated", remedy))
    if not hasattr(data, "__getitem__") or isinstance(data, str | Mapping) or _is_array(data):
        raise InputError(sentence(_FORMS, f"{name} is a {type(data).__name__}"))
    if not hasattr(data, "__len__"):
        raise InputError(sentence(f"{name} must have a length", f"{type(data).__name__} has no __len__"))
    if not len(data):
        raise InputError(sentence(f"{name} must have examples", "it is empty"))
    return DatasetSource(data, collate_fn)


def _arrays(x: object, y: object, name: str) -> ArraySource:
    batch = as_batch((x, y))
    lengths = {len(t) if t.ndim else 0 for t in [*input_tensors(batch.x), batch.y]}
    if len(lengths) > 1:
        value = f"lengths of {name} are {', '.join(map(str, sorted(lengths)))}"
        raise InputError(sentence("x and y must have one entry for each example", value))
    if not lengths.pop():
        raise InputError(sentence(f"{name} must have examples", "it is empty"))
    return ArraySource(*batch)


def _check_repeatable(train: Source, evaluation: Source | None, test: Source | None) -> None:
    """Refuse a dataset whose item differs on two reads, and augmentation that does not follow from a seed."""
    plain = [("the training set", train)] if evaluation is None else [("eval", evaluation)]
    for name, source in [*plain, ("the test set", test)]:
        if isinstance(source, DatasetSource) and (index := differs(source, (0, 1))) is not None:
            remedy = "pass Examples(train=augmented, eval=plain)" if name != "the test set" else "leave randomness out"
            value = f"item {index} of {name} differs"
            raise InputError(sentence("an example must be the same whenever it is read", value, remedy))
    if evaluation is not None and isinstance(train, DatasetSource) and (index := differs(train, (0, 0))) is not None:
        value = f"item {index} differs under one seed"
        remedy = "draw from the default generators of torch, NumPy or random"
        raise InputError(sentence("augmentation must follow from the seeds of torch, NumPy and Python", value, remedy))


def _held(source: ArraySource | DatasetSource) -> tuple[torch.Tensor | None, Source]:
    """The targets, and the source in memory where it is small enough."""
    if isinstance(source, ArraySource):
        return source.y, source
    y, held = read_all(source)
    return y, held or source


def _check_alike(train: Source, test: Source) -> None:
    """Refuse a test set of another form than that of the training set."""
    one, two = (source.batch(torch.tensor([0])) for source in (train, test))
    forms = [
        (list(batch.x) if isinstance(batch.x, dict) else len(input_tensors(batch.x)), batch.y.dtype)
        for batch in (one, two)
    ]
    if forms[0] != forms[1]:
        value = f"got {forms[0][0]} inputs and {forms[0][1]} targets, and {forms[1][0]} and {forms[1][1]}"
        raise InputError(sentence("training and test set must have one form", value))


def _sha256(sources: Sequence[Source | None], data_version: str | None, *numbers: npt.NDArray[np.int64] | None) -> str:
    distinct = list({id(source): source for source in sources if source is not None}.values())
    digest = hashlib.sha256(repr([[s.digest() for s in distinct], data_version]).encode())
    for values in numbers:
        digest.update(b"" if values is None else values.tobytes())
    return digest.hexdigest()
