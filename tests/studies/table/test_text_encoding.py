"""Free text: fitted on training rows, the same bits for a row alone, in any thread, and from a saved state."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from thinned.errors import InputError
from thinned.studies.table import text_encoding
from thinned.studies.table.columns import Column, column_of
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import load
from thinned.studies.table.readings import TextReading
from thinned.studies.table.settle import settle
from thinned.studies.table.text_encoding import COMPONENTS, TextEncoding

READING = TextReading()
FRUIT = ["apple", "pear", "plum", "cherry", "grape", "lemon", "melon", "peach", "fig", "date"]
OTHER = ["road", "house", "river", "bridge", "tower", "garden", "market", "window", "blue", "green", "heavy", "light"]
WORDS = FRUIT + OTHER


def sentences(rows: int, seed: int = 0, length: int = 8) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, length)) for _ in range(rows)]


def column(texts: object) -> Column:
    return column_of(pd.Series(texts, dtype=object, name="x"))


def fit(texts: object) -> TextEncoding:
    encoding = TextEncoding.fit(column(texts))
    assert encoding is not None
    return encoding


def encode(encoding: TextEncoding, texts: object) -> np.ndarray:
    return encoding.transform(column(texts), READING)


FITTED = fit([*sentences(300), "Größe: 12,5 cm", "café ☕ 日本語のテキスト"])


def texts() -> st.SearchStrategy[str]:
    known = st.lists(st.sampled_from([*WORDS, "appl", "tower!", "GARDEN", "日本語"]), max_size=12).map(" ".join)
    return st.one_of(known, st.text(max_size=40), known.map(lambda text: 40 * text))


@given(st.lists(st.one_of(st.none(), texts()), min_size=1, max_size=12))
@settings(max_examples=60)
def test_a_row_alone_is_encoded_as_among_others(cells: list[str | None]) -> None:
    whole = encode(FITTED, cells)
    assert np.isfinite(whole).all()
    for row, cell in zip(whole, cells, strict=True):
        assert encode(FITTED, [cell]).tobytes() == row.tobytes()


def test_blocks_do_not_change_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(200, seed=1)
    whole = encode(FITTED, texts)
    monkeypatch.setattr(text_encoding, "TOGETHER", 100)
    assert encode(FITTED, texts).tobytes() == whole.tobytes()


def test_components_are_the_singular_vectors_of_the_weighted_rows() -> None:
    """Against the definition, dense and by LAPACK; rows that stand several times weigh as often."""
    distinct = sentences(12, length=4)
    cells = [*distinct, *distinct[:4], distinct[0]]
    encoding = fit(cells)
    assert encoding.vocabulary.families[0] == sorted({word for cell in cells for word in cell.split()})
    families = []
    terms_of = (
        str.split,
        lambda cell: [f" {w} "[i : i + n] for w in cell.split() for n in (3, 4) for i in range(len(w) + 3 - n)],
    )
    for terms, vocabulary in zip(terms_of, encoding.vocabulary.families, strict=True):
        counts = np.array([[terms(cell).count(term) for term in vocabulary] for cell in cells], dtype=float)
        idf = 1 + np.log((1 + len(cells)) / (1 + (counts > 0).sum(axis=0)))
        weighted = np.sqrt(counts) * idf
        families.append(weighted / np.linalg.norm(weighted, axis=1, keepdims=True))
    rows = np.hstack(families)
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    rank = int((values > 1e-6 * values[0]).sum())
    assert encoding.components.shape == (rows.shape[1], rank)
    expected = rows @ vectors[:rank].T
    encoded = encode(encoding, cells)
    signs = np.sign((expected * encoded).sum(axis=0))
    # rounded to multiples of 2**-15
    np.testing.assert_allclose(encoded * signs, expected, atol=2**-16 * np.abs(rows).sum(axis=1).max())


def test_words_that_texts_share_make_them_alike() -> None:
    fruit = [" ".join(np.random.default_rng(i).choice(FRUIT, 6)) for i in range(100)]
    other = [" ".join(np.random.default_rng(i).choice(OTHER, 6)) for i in range(100)]
    encoding = fit(fruit[:80] + other[:80])
    of_fruit, of_other = encode(encoding, fruit[80:]), encode(encoding, other[80:])
    middle = (encode(encoding, fruit[:80]).mean(axis=0) + encode(encoding, other[:80]).mean(axis=0)) / 2
    direction = encode(encoding, fruit[:80]).mean(axis=0) - middle
    assert ((of_fruit - middle) @ direction > 0).all()
    assert ((of_other - middle) @ direction < 0).all()
    (misspelt,) = encode(encoding, ["aple cherrry lemons pears"])
    assert (misspelt - middle) @ direction > 0


def test_a_fit_has_the_same_bits_with_any_number_of_threads() -> None:
    words = np.random.default_rng(0).choice([f"word{i}" for i in range(900)], (400, 30))
    texts = [" ".join(row) for row in words]
    components = set()
    for threads in (1, 2, 5):
        with threadpool_limits(threads, user_api="blas"):
            components.add(fit(texts).components.tobytes())
    assert len(components) == 1


def test_fits_in_threads_are_those_of_one_thread() -> None:
    several = [sentences(100, seed=seed) for seed in range(4)]
    alone = [fit(texts).components.tobytes() for texts in several]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda texts: fit(texts).components.tobytes(), several)) == alone


@pytest.mark.parametrize(
    "cells",
    [
        *(
            ["one text"],
            ["one text"] * 5,
            ["a", "b"],
            ["a", None],
            ["!!!", "...", "-- --", "?!"],
            ["☕", "\u200b", "🎉🎉"],
        ),
        *(["", "  ", "word"], ["0" * 5000, "1" * 5000], [f"{i:032x}" for i in range(70)], ["the of and", "and of the"]),
    ],
)
def test_few_and_odd_texts(cells: list[str | None]) -> None:
    encoding = fit(cells)
    encoded = encode(encoding, cells)
    assert encoded.shape == (len(cells), len(encoding.names))
    assert np.isfinite(encoded).all()
    filled = {cell.strip() for cell in cells if cell is not None and cell.strip()}
    distinct = {row.tobytes() for row, cell in zip(encoded, cells, strict=True) if cell is not None and cell.strip()}
    assert len(distinct) == len(filled) or cells == ["the of and", "and of the"]  # the order of words is not read
    restored = TextEncoding.from_state(encoding.state())
    assert encode(restored, cells).tobytes() == encoded.tobytes()


def test_columns_without_texts_have_no_encoding() -> None:
    assert TextEncoding.fit(column([None, "", "  "])) is None


def test_missing_cells_have_a_column_and_are_like_texts_of_unknown_words() -> None:
    cells = sentences(80)
    encoding = fit([None, *cells])
    assert encoding.names[:2] == ["x is missing", "x component 1"]
    missing, unknown, both = encode(encoding, [None, "☕☕☕☕", "☕☕☕☕ apple"])
    assert missing.tolist() == [1.0] + [0.0] * encoding.pieces
    assert unknown.tolist() == [0.0] * (1 + encoding.pieces)
    assert both.any()
    assert fit(cells).names[0] == "x component 1"
    assert not encode(fit(cells), [None]).any()


def test_parts_of_a_table_have_as_many_columns() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{i}" for i in row) for row in rng.integers(0, 900, (600, 8))]
    frame = pd.DataFrame({"x": texts, "y": np.arange(600) % 2})
    table = load(frame, "y")
    parts = [rng.choice(600, size, replace=False) for size in (400, 400, 401, 300)]
    encoders = [Encoder(readings=table.readings).fit(table.features, part) for part in parts]
    assert [len(encoder.names) for encoder in encoders] == [COMPONENTS] * 4


def test_texts_of_held_out_rows_do_not_reach_the_fit() -> None:
    frame = pd.DataFrame({"x": sentences(300), "y": np.arange(300) % 2})
    other = frame.copy()
    other.loc[200:, "x"] = [f"entirely different {i}" for i in range(100)]
    outputs = []
    for held_out in (frame, other):
        table = load(held_out, "y")
        encoder = Encoder(readings=table.readings).fit(table.features, np.arange(200))
        outputs.append(encoder.transform(table.features.iloc[:200]).tobytes())
    assert outputs[0] == outputs[1]


def test_long_texts_are_read_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    start = "apple pear " * 909 + "a "  # 10,001 characters
    assert len(start) == text_encoding.CHARACTERS + 1
    assert encode(FITTED, [start + "garden tower"]).tobytes() == encode(FITTED, [start + "x"]).tobytes()
    monkeypatch.setattr(text_encoding, "FIT_CHARACTERS", 500)
    assert len(fit(sentences(400, length=3)).vocabulary.families[0]) <= len(WORDS)
    assert fit(["apple " * 200, "pear " * 200]).vocabulary.families[0] == ["apple"]


def test_a_fit_on_many_texts_takes_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "FIT_TEXTS", 50)
    cells = [f"text{i:03}" for i in range(200)]
    assert len(fit(cells).vocabulary.families[0]) == 50
    assert fit(cells).components.tobytes() == fit(cells).components.tobytes()


# Saving.


@pytest.mark.parametrize(
    "change",
    [
        *({"words": "apple\napple"}, {"words": "apple"}, {"words": None}, {"words": ["apple"]}, {"ngrams": ""}),
        *({"missing": 1}, {"name": b"x"}, {"extra": 0}, {"words": "\n".join(map(str, range(5001)))}),
        *({"idf": np.zeros(3)}, {"idf": [1.0]}, {"components": np.zeros((2, 2))}, {"components": "x"}),
    ],
)
def test_a_state_that_no_fit_gives_is_refused(change: dict[str, object]) -> None:
    state = fit(sentences(50)).state()
    assert TextEncoding.from_state(state).names
    with pytest.raises(ValueError, match="must"):
        TextEncoding.from_state(state | change)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5, 1e9])
def test_weights_that_no_fit_gives_are_refused(value: float) -> None:
    state = fit(sentences(50)).state()
    idf = np.array(state["idf"])
    idf[3] = value
    with pytest.raises(ValueError, match="idf must"):
        TextEncoding.from_state(state | {"idf": idf})


@pytest.mark.parametrize(
    "change",
    [lambda c: c.astype(np.float64), lambda c: c[:-1], lambda c: np.tile(c, 5), lambda c: c[:, :0], lambda c: c[None]],
)
def test_components_that_no_fit_gives_are_refused(change: Callable[[np.ndarray], np.ndarray]) -> None:
    state = fit(sentences(50)).state()
    with pytest.raises(ValueError, match="components must"):
        TextEncoding.from_state(state | {"components": change(np.asarray(state["components"]))})


def test_a_saved_encoder_has_the_same_bits_and_holds_no_code() -> None:
    frame = pd.DataFrame({"x": sentences(300), "n": np.arange(300.0)})
    frame.loc[::7, "x"] = None
    encoder = Encoder().fit(frame)
    data = encoder.dumps()
    assert skops.io.get_untrusted_types(data=data) == []
    loaded = Encoder.loads(data)
    assert loaded.names == encoder.names
    assert loaded.transform(frame).tobytes() == encoder.transform(frame).tobytes()


def test_an_encoder_that_hashed_texts_is_refused_and_one_without_texts_is_read() -> None:
    text = {"format": 2, "columns": ["x"], "readings": "{}", "encodings": [{"kind": "text", "name": "x"}]}
    with pytest.raises(InputError, match="keep the words of its columns of text; an earlier version of thinned wrote"):
        Encoder.loads(skops.io.dumps(text))
    encoder = Encoder().fit(pd.DataFrame({"n": np.arange(9.0)}))
    saved = skops.io.loads(encoder.dumps())
    assert Encoder.loads(skops.io.dumps(saved | {"format": 2})).names == encoder.names


# Codes.

CODES = [f"{i:05}" for i in range(100)]


def told(encoder: Encoder, cells: object) -> list[str]:
    return [notice.code for notice in encoder.unlike(pd.DataFrame({"x": cells}))]


@pytest.mark.parametrize("dtype", [int, float, "Int64", object])
def test_numbers_get_the_zeros_of_codes_of_one_length(dtype: object) -> None:
    encoder = Encoder().fit(pd.DataFrame({"x": CODES}))
    assert encoder.readings["x"] == TextReading(digits=5, figures=True)
    numbers = pd.DataFrame({"x": pd.Series(range(100)).astype(dtype)})
    assert encoder.transform(numbers).tobytes() == encoder.transform(pd.DataFrame({"x": CODES})).tobytes()
    assert not told(encoder, numbers["x"])
    loaded = Encoder.loads(encoder.dumps())
    assert loaded.transform(numbers).tobytes() == encoder.transform(numbers).tobytes()


def test_numbers_that_may_have_lost_their_zeros_are_told() -> None:
    encoder = Encoder().fit(pd.DataFrame({"x": [*CODES, "7a"]}))
    assert encoder.readings["x"] == TextReading(figures=True)
    (notice,) = encoder.unlike(pd.DataFrame({"x": [7, 12, 12]}))
    assert (notice.code, notice.cells) == ("number_for_text", 3)
    assert notice.message.startswith("Column 'x' has numbers in 3 rows ('7', '12') where the training rows had text")
    assert not told(encoder, ["7", "12", "00012"])  # text is what it says
    fixed = Encoder().fit(pd.DataFrame({"x": CODES}))
    assert told(fixed, [-7, 2.5, 7, 123456]) == ["number_for_text"]


def test_numbers_among_words_are_their_texts() -> None:
    cells = [f"{i}a" if i % 2 else str(i) for i in range(200)]
    encoder = Encoder().fit(pd.DataFrame({"x": cells}))
    assert encoder.readings["x"] == TextReading()
    ints, strings = pd.DataFrame({"x": [2, 4]}), pd.DataFrame({"x": ["2", "4"]})
    assert encoder.transform(ints).tobytes() == encoder.transform(strings).tobytes()
    assert not told(encoder, [2, 4])


def test_numbers_read_as_text_are_their_figures() -> None:
    frame = pd.DataFrame({"x": range(100), "other": range(100)})
    readings = settle(frame, {"x": "text"}).readings
    assert readings["x"] == TextReading()
    encoder = Encoder(readings=readings).fit(frame)
    assert not encoder.unlike(frame)
    as_text = frame.assign(x=frame["x"].astype(str))
    assert encoder.transform(as_text).tobytes() == encoder.transform(frame).tobytes()
