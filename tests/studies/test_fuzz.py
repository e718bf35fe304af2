"""Damaged files of every kind: an InputError, or it works; never anything else.

A short run with fixed examples is a part of the tests. A long one:

    THINNED_FUZZ=5000 python -m pytest tests/test_fuzz.py
"""

import copy
import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from skops import io as skops

import thinned
from thinned.errors import InputError
from thinned.studies import Study
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.model.model import Model
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import load
from thinned.studies.training.store import open_store

EXAMPLES = int(os.environ.get("THINNED_FUZZ", "0"))
SMALL: dict[str, Any] = {"arms": ["dropout"], "rates": (0.5,), "folds": 2, "seeds": 1, "hidden": (4,), "epochs": 2}
fuzzed = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def only_input_errors(work: Callable[[], object]) -> None:
    """Whatever comes is of one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about values that no sound file has
        try:
            work()
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 3000  # noqa: PT017


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": rng.normal(size=60),
            "gaps": np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60)),
            "level": rng.choice(["red", "green", "blue"], 60),
            "date": pd.date_range("2020-01-01", periods=60, freq="36h").strftime("%d.%m.%Y"),
            "text": [f"word {i} {'x' * (i % 5)}" for i in range(60)],
            "y": rng.choice(["no", "yes"], 60),
        }
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pd.concat([table(), table().assign(text=lambda f: f["text"] + " more")], ignore_index=True)
    assert frame["text"].nunique() > 64  # so that every way to read a column is in the encoder
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    thinned.study(frame, "y", out=folder, **SMALL)
    return folder


# --- how to damage -----------------------------------------------------------------------------------------------

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "remove"]),
        st.floats(0, 1),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\0", b'"', b"\n", b",", b"\xff\xfe", b"1e999", b"[" * 50, b"NaN", b"\xff" * 8, b"\x7f"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """Bytes after some changes, each at a place given as a share of their length."""
    for kind, share, new in changes:
        at = int(share * len(data))
        match kind:
            case "flip":
                data = data[:at] + bytes(byte ^ new[0] for byte in data[at : at + 1]) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + new + data[at:]
            case "repeat":
                data = data[:at] + data[at // 2 :]
            case "remove":
                data = data[:at] + data[at + len(new) :]
    return data


class Delete:
    """Stands for an entry that is to go."""


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2, 10**6, 2**63, 10**400, 0.0, 1e-320, 1e308, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(
        ["<script>", "\ud800", "{{7*7}}", "%!%", "helps", "../../x", "\0", "best", "number", "date", "mixed"]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(Delete),
)
turns = st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=1, max_size=8), junk), min_size=1, max_size=3)


def turned(tree: Any, changes: list[tuple[list[int], Any]]) -> Any:
    """A tree of lists and dicts with some entries replaced or deleted; a path of numbers says which."""
    tree = copy.deepcopy(tree)
    for path, new in changes:
        node = tree
        for depth, step in enumerate(path):
            if not isinstance(node, (dict, list)) or not node:
                break
            key = list(node)[step % len(node)] if isinstance(node, dict) else step % len(node)
            if depth == len(path) - 1 or not isinstance(node[key], (dict, list)) or not node[key]:
                if new is Delete:
                    del node[key]
                else:
                    node[key] = new
                break
            node = node[key]
    return tree


# --- tables ------------------------------------------------------------------------------------------------------


def read_and_encode(path: Path, **options: Any) -> None:
    table = load(path, "y", folds=2, **options)
    half = len(table.features) // 2
    encoded = Encoder().fit(table.features.iloc[:half]).transform(table.features)
    assert encoded.shape[0] == len(table.features)
    assert np.isfinite(encoded).all()


def written(kind: str) -> bytes:
    target = BytesIO()
    frame = table()
    if kind == "parquet":
        frame.assign(
            date=pd.to_datetime(frame["date"], format="%d.%m.%Y"), level=frame["level"].astype("category")
        ).to_parquet(target)
        return target.getvalue()
    text = frame.to_csv(index=False).encode()
    return gzip.compress(text, mtime=0) if kind == "csv.gz" else text


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
@given(changes=edits)
@fuzzed
def test_damaged_tables(kind: str, changes: list[tuple[str, float, bytes]], tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_bytes(edited(written(kind), changes))
    only_input_errors(lambda: read_and_encode(path))


odd = (
    "|| |NA|-|0|1|-1|1e308|-1e308|1e-320|1e999|nan|0x10|1_000|٣|2020-01-01|01.02.2020|9999-12-31|0001-01-01|2020-02-30"
)
odd += "|2020-01-01T00:00:00+14:00|24:00|1970-01-01 00:00:00Z|12:30|true|False|yes|<b>|\u202e|é|=1+1|1,5|1.5"
cells = st.one_of(
    st.sampled_from([*odd.split("|"), "9" * 400, "x" * 300]),
    st.text(st.characters(blacklist_characters='\0\r\n"', blacklist_categories=["Cs"]), max_size=5),
)


@given(
    columns=st.lists(st.lists(cells, min_size=1, max_size=5), min_size=1, max_size=4),
    target=st.lists(cells, min_size=2, max_size=4),
    by=st.sampled_from([{}, {"group": "c0"}, {"time": "c0"}]),
)
@fuzzed
def test_tables_of_odd_cells(columns: list[list[str]], target: list[str], by: dict[str, str], tmp_path: Path) -> None:
    """Each column repeats a few cells."""
    frame = pd.DataFrame({f"c{i}": [own[r % len(own)] for r in range(50)] for i, own in enumerate(columns)})
    frame["y"] = [target[r % len(target)] for r in range(50)]
    frame.to_csv(tmp_path / "t.csv", index=False)
    only_input_errors(lambda: read_and_encode(tmp_path / "t.csv", **by))


# --- results.json ------------------------------------------------------------------------------------------------


@given(changes=turns)
@fuzzed
def test_turned_results(changes: list[tuple[list[int], Any]], study: Path, tmp_path: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(turned(results, changes)))
    only_input_errors(lambda: Study.load(tmp_path).report())


@given(changes=edits)
@fuzzed
def test_damaged_results(changes: list[tuple[str, float, bytes]], study: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(edited((study / "results.json").read_bytes(), changes))
    only_input_errors(lambda: Study.load(tmp_path).report())


# --- models ------------------------------------------------------------------------------------------------------


def predicts(study: Path, folder: Path, name: str, data: bytes, sums: bool = True) -> None:
    """Put ``data`` into a copy of the model, as someone would who means harm, then predict."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(study / "model", folder)
    (folder / name).write_bytes(data)
    if sums:
        card = json.loads((folder / "model.json").read_text())
        card["files"] = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in card["files"]}
        (folder / "model.json").write_text(json.dumps(card))
    frame = table()
    only_input_errors(lambda: Model.load(folder).predict(frame))


@pytest.mark.parametrize("name", ["weights.safetensors", "encoder.skops", "model.json"])
@given(changes=edits)
@fuzzed
def test_damaged_models(name: str, changes: list[tuple[str, float, bytes]], study: Path, tmp_path: Path) -> None:
    data = edited((study / "model" / name).read_bytes(), changes)
    predicts(study, tmp_path / "model", name, data, sums=name != "model.json")


@given(changes=turns)
@fuzzed
def test_turned_descriptions(changes: list[tuple[list[int], Any]], study: Path, tmp_path: Path) -> None:
    card = json.loads((study / "model" / "model.json").read_text())
    predicts(study, tmp_path / "model", "model.json", json.dumps(turned(card, changes)).encode(), sums=False)


@given(changes=turns)
@fuzzed
def test_turned_weights(changes: list[tuple[list[int], Any]], study: Path, tmp_path: Path) -> None:
    data = (study / "model" / "weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(turned(json.loads(data[8 : 8 + size]), changes)).encode()
    predicts(
        study, tmp_path / "model", "weights.safetensors", len(header).to_bytes(8, "little") + header + data[8 + size :]
    )


@given(changes=turns)
@fuzzed
def test_turned_encoders(changes: list[tuple[list[int], Any]], study: Path, tmp_path: Path) -> None:
    state = skops.loads((study / "model" / "encoder.skops").read_bytes(), trusted=[])
    try:
        data = skops.dumps(turned(state, changes))
    except Exception:  # noqa: BLE001 - skops has no form for it, so no file can hold it
        return
    predicts(study, tmp_path / "model", "encoder.skops", data)


def test_undamaged_models_predict(study: Path, tmp_path: Path) -> None:
    """The tools of this file change nothing by themselves."""
    for name in ("weights.safetensors", "encoder.skops", "model.json"):
        predicts(study, tmp_path / "model", name, (study / "model" / name).read_bytes())
        assert Model.load(tmp_path / "model").predict(table()).shape == (60, 2)
    assert edited(b"abc", [("insert", 1, b"d")]) == b"abcd"
    assert turned({"a": [1, 2]}, [([0, 1], 3)]) == {"a": [1, 3]}
    assert safetensors.torch.load((tmp_path / "model" / "weights.safetensors").read_bytes())


# --- the store ---------------------------------------------------------------------------------------------------


def planned(study: Path) -> tuple[Plan, dict[str, Any]]:
    with closing(sqlite3.connect(study / "study.sqlite")) as connection:
        held = json.loads(connection.execute("SELECT json FROM plan").fetchone()[0])
    frame = pd.concat([table(), table().assign(text=lambda f: f["text"] + " more")], ignore_index=True)
    return make_plan(load(frame, "y", folds=2), **SMALL), held


@given(changes=edits)
@fuzzed
def test_damaged_stores(changes: list[tuple[str, float, bytes]], study: Path, tmp_path: Path) -> None:
    plan, held = planned(study)
    assert plan.to_dict() == {name: value for name, value in held.items() if name != "versions"}
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "study.sqlite").write_bytes(edited((study / "study.sqlite").read_bytes(), changes))

    def read() -> None:
        with open_store(tmp_path, plan) as store:
            assert len(store.networks()) <= len(plan.members())
            assert store.seconds is not None

    only_input_errors(read)
