"""Splits are encoded once for all jobs that train on them, and no longer in memory than they must be."""

import gc
import pickle
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch

from thinned import datasets
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import make_splits
from thinned.studies.table.load import Table, load
from thinned.studies.training import encoded_splits, jobs
from thinned.studies.training.encoded_splits import Encoded, EncodedSplits, SplitKey, encode
from thinned.studies.training.engines.threads import Threads
from thinned.studies.training.store import Store

KEYS = [SplitKey(0, 0, None), SplitKey(1, 0, None), SplitKey(0, 0, "piecewise"), SplitKey(0, 20, None)]


@pytest.fixture(scope="module")
def table() -> Table:
    columns = ["churn", "total_day_minutes", "account_length"]
    return load(pd.DataFrame(datasets.churn()[columns].head(150)), "churn")


@pytest.fixture(scope="module")
def plan(table: Table) -> Plan:
    return make_plan(table, arms=["none", "dropout", "batch_norm", "piecewise"], hidden=(4,), epochs=1, seeds=1)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[object, ...]]]:
    """Count what is encoded, by split, training rows and embedding."""
    counts: Counter[tuple[object, ...]] = Counter()
    lock = threading.Lock()

    def count(table: Table, split: encoded_splits.Split, embedding: encoded_splits.Embedding = None) -> Encoded:
        with lock:
            counts[split.repeat, split.fold, len(split.train), embedding] += 1
        return encode(table, split, embedding)

    monkeypatch.setattr(encoded_splits, "encode", count)
    return counts


def test_what_a_job_gets_is_its_own_encoding(table: Table, plan: Plan) -> None:
    splits = make_splits(plan, table)
    encoded = EncodedSplits(table, splits, KEYS)
    with encoded.use(KEYS) as given:
        for key, one in zip(KEYS, given, strict=True):
            expected = encode(table, splits[key.split].first(key.size), key.embedding)
            assert torch.equal(one.data.x, expected.data.x)
            assert torch.equal(one.data.train, expected.data.train)
            assert one.data.shape == expected.data.shape


def test_a_study_encodes_a_split_once(table: Table, plan: Plan, made: Counter[tuple[object, ...]]) -> None:
    store = Store.in_memory(plan)
    jobs.run(table, plan, store, lambda progress: None, engine=Threads(2))
    assert len(store.networks()) == plan.networks
    assert len(made) == 10  # five folds, with and without the piecewise-linear encoding
    assert set(made.values()) == {1}


def test_threads_wait_for_the_one_that_encodes(table: Table, plan: Plan, made: Counter[tuple[object, ...]]) -> None:
    encoded = EncodedSplits(table, make_splits(plan, table), KEYS * 8)

    def job(number: int) -> int:
        with encoded.use(KEYS[number % 3 :]) as given:
            return len(given)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(job, range(8))) == [4 - number % 3 for number in range(8)]
    assert set(made.values()) == {1}


@pytest.mark.parametrize(("most", "later"), [(10**9, True), (0, False)])
def test_it_goes_after_its_last_job_or_when_it_is_large(
    table: Table, plan: Plan, monkeypatch: pytest.MonkeyPatch, most: int, later: bool
) -> None:
    monkeypatch.setattr(encoded_splits, "_KEPT", most)
    encoded = EncodedSplits(table, make_splits(plan, table), [KEYS[0]] * 2)

    def job() -> weakref.ref[torch.Tensor]:
        with encoded.use(KEYS[:1]) as given:
            return weakref.ref(given[0].data.x)

    first = job()
    gc.collect()
    assert (first() is not None) == later
    last = job()
    assert (last is first) == later
    gc.collect()
    assert last() is None


def test_a_job_that_fails_leaves_nothing(table: Table, plan: Plan, made: Counter[tuple[object, ...]]) -> None:
    encoded = EncodedSplits(table, make_splits(plan, table), KEYS[:1])
    for _ in range(2):
        with pytest.raises(RuntimeError), encoded.use(KEYS[:1]):
            raise RuntimeError
    assert list(made.values()) == [2]


def test_a_copy_begins_empty(table: Table, plan: Plan, made: Counter[tuple[object, ...]]) -> None:
    encoded = EncodedSplits(table, make_splits(plan, table), KEYS * 2)
    with encoded.use(KEYS):
        pass
    size = len(pickle.dumps(encoded))
    assert size < len(pickle.dumps(EncodedSplits(table, make_splits(plan, table), KEYS * 2))) + 100
    with pickle.loads(pickle.dumps(encoded)).use(KEYS) as given:
        assert len(given) == 4
    assert set(made.values()) == {2}
