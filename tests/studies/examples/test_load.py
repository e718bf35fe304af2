"""Examples are read in every form, and refused in one sentence where they can't be used."""

import numpy as np
import pytest
import torch
from example_networks import Items, blobs, noisy
from torch.utils.data import IterableDataset, TensorDataset

from thinned.errors import InputError
from thinned.studies.examples.examples import Examples
from thinned.studies.examples.load import load_examples
from thinned.studies.examples.sources import ArraySource, DatasetSource

X, Y = blobs(40)
TEST = blobs(12, seed=1)


@pytest.mark.parametrize(
    "data",
    [(X, Y), (X.numpy(), Y.numpy()), (X, Y.tolist()), TensorDataset(X, Y), Items(X, Y), list(zip(X, Y, strict=True))],
    ids=["tensors", "arrays", "a list of targets", "a TensorDataset", "a dataset", "a list"],
)
def test_every_form_gives_the_same_batch(data: object) -> None:
    examples = load_examples(data)
    batch = examples.batch([3, 1])
    assert torch.equal(batch.x, X[[3, 1]])
    assert torch.equal(batch.y, Y[[3, 1]])
    assert (examples.count, examples.test_count, examples.task) == (40, 0, "multiclass")
    assert examples.classes == ("0", "1", "2")
    np.testing.assert_array_equal(examples.target, Y)
    assert isinstance(examples.eval, ArraySource)


def test_a_given_test_set() -> None:
    pairs = [((X, Y), TEST), (Items(X, Y), Items(*TEST)), Examples((X, Y), test=TEST), lambda: ((X, Y), TEST)]
    for data in pairs:
        examples = load_examples(data)
        assert (examples.count, examples.test_count) == (40, 12)
        assert torch.equal(examples.batch([5], "test").x, TEST[0][[5]])


def test_inputs_may_be_a_tuple_or_a_mapping() -> None:
    two = load_examples(((X, Y.float()), Y)).batch([2])
    assert isinstance(two.x, tuple)
    assert torch.equal(two.x[1], Y[[2]].float())
    named = load_examples(({"numbers": X, "mask": X > 0}, Y)).batch([2])
    assert isinstance(named.x, dict)
    assert torch.equal(named.x["mask"], X[[2]] > 0)
    items = load_examples([({"numbers": x}, int(y)) for x, y in zip(X, Y, strict=True)])
    assert torch.equal(items.batch([4]).x["numbers"], X[[4]])  # type: ignore[call-overload]


def test_an_import_path_names_a_function() -> None:
    examples = load_examples("example_networks:blobs")
    assert (examples.name, examples.count) == ("example_networks:blobs", 120)


def test_float64_becomes_float32() -> None:
    batch = load_examples((X.double().numpy(), X[:, 0].double().numpy())).batch([0])
    assert batch.x.dtype == batch.y.dtype == torch.float32  # type: ignore[union-attr]


def test_augmentation_follows_from_key_and_index_alone() -> None:
    examples = load_examples(Examples(Items(X, Y, noisy), Items(X, Y)))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    one, two = examples.batch([3, 1], "train", key=7), examples.batch([1, 2, 3], "train", key=7)
    assert torch.equal(one.x[0], two.x[2])
    assert torch.equal(one.x[1], two.x[0])
    assert not torch.equal(one.x, examples.batch([3, 1], "train", key=8).x)
    assert not torch.equal(one.x, X[[3, 1]])
    assert torch.equal(examples.batch([3, 1], "eval").x, X[[3, 1]])
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]  # noqa: NPY002


def test_sequences_of_unequal_length_need_a_collate_function() -> None:
    sequences = [torch.full((1 + n % 4,), float(n)) for n in range(20)]
    data = list(zip(sequences, torch.arange(20) % 2, strict=True))

    def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.nn.utils.rnn.pad_sequence([x for x, _ in items], True), torch.stack([y for _, y in items])

    with pytest.raises(InputError, match="equal shapes, or a collate_fn"):
        load_examples(data)
    examples = load_examples(data, collate_fn=collate)  # type: ignore[arg-type]
    assert isinstance(examples.eval, DatasetSource)
    assert examples.batch([3, 0]).x.tolist() == [[3, 3, 3, 3], [0, 0, 0, 0]]  # type: ignore[union-attr]
    assert examples.task == "binary"


def test_groups_of_a_given_test_set_are_numbered_with_those_of_the_training_set() -> None:
    examples = load_examples(((X, Y), (X[:4], Y[:4])), groups=(["b", "a"] * 20, ["a", "c", "c", "d"]))
    np.testing.assert_array_equal(examples.groups, [1, 0] * 20)
    np.testing.assert_array_equal(examples.test_groups, [0, 2, 2, 3])
    alone = load_examples(((X, Y), (X[:4], Y[:4])), groups=(["b", "a"] * 20, None))
    assert alone.test_groups is None
    np.testing.assert_array_equal(alone.groups, [1, 0] * 20)
    plain = load_examples(((X, Y), (X[:4], Y[:4])))
    assert len({examples.sha256, alone.sha256, plain.sha256}) == 3


def test_groups_and_times_are_ranks() -> None:
    dates = np.datetime64("2020-01-01") + np.arange(40)[::-1]
    examples = load_examples((X, Y), groups=["b", "a"] * 20, time=dates)
    np.testing.assert_array_equal(examples.groups, [1, 0] * 20)
    np.testing.assert_array_equal(examples.times, np.arange(40)[::-1])


def test_the_digest_tells_data_apart() -> None:
    digests = {
        load_examples((X, Y)).sha256,
        load_examples((X + 1e-6, Y)).sha256,
        load_examples((X, Y), data_version="2").sha256,
        load_examples((X[:30], Y[:30])).sha256,
    }
    assert len(digests) == 4
    assert load_examples((X.clone(), Y)).sha256 == load_examples(Items(X, Y)).sha256 == load_examples((X, Y)).sha256


class Stream(IterableDataset[tuple[torch.Tensor, int]]):
    def __iter__(self):  # type: ignore[no-untyped-def]
        yield X[0], 0


class Unseeded(Items):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.x[index] + float(np.random.default_rng().normal()), 0


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Stream(), {}, "the training set must be map-style; Stream can only be iterated; give each example an index"),
        (Items(X, Y, noisy), {}, "must be the same whenever it is read; item 0 of the training set differs; pass Ex"),
        (Examples(Unseeded(X, Y), Items(X, Y)), {}, "augmentation must follow from the seeds"),
        (Examples(Items(X, Y), Items(X[:9], Y[:9])), {}, "the same indices; train has 40 and eval 9"),
        ((X, Y[:9]), {}, "one entry for each example; lengths of the training set are 9, 40"),
        ((X[:0], Y[:0]), {}, "the training set must have examples; it is empty"),
        ((X[:3], Y[:3]), {}, "a study needs at least 4 examples; got 3"),
        (3, {}, "data must be a pair"),
        (X, {}, "data must be a pair"),
        ([(X[0], 0, 1)] * 9, {}, "an example must be a pair of input and target; got list of 3"),
        ([("text", 0)] * 9, {}, "x must be a tensor"),
        ([(object(), 0)] * 9, {}, "examples must hold tensors, arrays or numbers"),
        ((X, torch.full((40,), torch.nan)), {}, "targets must be finite numbers; that of example 0 is not"),
        ((X, Y - 1), {}, "class labels must be whole numbers from 0; got -1; pass floats for numbers"),
        ((X, Y * 0), {}, "targets must differ; all examples have the label 0"),
        ((X, Y), {"task": "binary"}, "two classes must have the labels 0 and 1"),
        ((X, Y), {"task": "ranking"}, "task must be one of"),
        ((X, X), {"task": "regression"}, 'task="regression" needs one target an example'),
        ((X, Y), {"groups": [1, 2]}, "groups must have one entry for each example"),
        ((X, Y), {"groups": [None, *["a"] * 39]}, "groups must be known of each example; that of example 0 is missing"),
        (
            ((X, Y), (X, Y)),
            {"groups": ["a"] * 40},
            "groups must be those of both sets; got those of one; pass groups=(",
        ),
        (((X, Y), (X, Y)), {"groups": (["a"] * 40, [1] * 39)}, "groups of the test set must have one entry for each"),
        (((X, Y), (X, Y)), {"groups": (["a"] * 40, range(40))}, "groups of both sets must be names, or numbers"),
        (((X, Y), (X, Y)), {"groups": (["a"] * 40, ["b"] * 40)}, "a given test set must have at least two groups"),
        ((X, Y), {"time": ["a"] * 40}, "time must be numbers or dates"),
        ((X, Y), {"time": [np.nan] * 40}, "time must be known of each example; that of example 0 is missing"),
        (((X, Y), ((X, X), Y)), {}, "training and test set must have one form"),
        ([(X[0], 0)] * 9, {"collate_fn": lambda items: 1 / 0}, "every item of the data must be readable; it raised Z"),
        ("nowhere:nothing", {}, "the module of the data must be importable"),
        (lambda: 1 / 0, {}, "the function of the data must return them; it raised ZeroDivisionError"),
    ],
)
def test_what_can_not_be_used_is_refused_in_one_sentence(data: object, options: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_examples(data, **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
