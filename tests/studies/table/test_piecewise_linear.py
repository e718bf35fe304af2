"""The piecewise-linear encoding: the paper's equation, and what holds for any values."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thinned.errors import InputError
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.setting import Setting
from thinned.studies.model import model
from thinned.studies.table.encoding import LIMIT, Encoder
from thinned.studies.table.load import load
from thinned.studies.table.piecewise_linear import BINS, edges, pieces
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.jobs import run
from thinned.studies.training.store import Store

finite = st.floats(-1e150, 1e150).map(lambda value: 0.0 if abs(value) < 1e-150 else value)


def paper(value: float, ends: np.ndarray) -> list[float]:
    """Equation 1 of Gorishniy et al. (2022), case by case, with the outer bins closed."""
    found = []
    for lower, upper in itertools.pairwise(ends):
        if value < lower:
            found.append(0.0)
        elif value >= upper:
            found.append(1.0)
        else:
            found.append((value - lower) / (upper - lower))
    return found


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=finite), hnp.arrays(np.float64, 20, elements=finite))
def test_pieces_are_the_papers(training, new):
    ends = edges(np.sort(training))
    assert len(ends) == 0 or 3 <= len(ends) <= BINS + 1
    assert np.all(np.diff(ends) > 0)
    values = np.sort(np.concatenate([training, new]))
    encoded = pieces(values, ends)
    assert encoded.tolist() == [paper(value, ends) for value in values]  # the same operations: equal bits
    assert np.all((encoded >= 0) & (encoded <= 1))
    assert np.all(np.diff(encoded, axis=0) >= 0)
    assert np.all(np.diff(encoded, axis=1) <= 0)
    assert np.all(encoded[values <= training.min()] == 0)
    if len(ends):
        assert np.all(encoded[values >= training.max()] == 1)


def test_pieces_of_any_function_of_few_values_are_linear():
    """As many pieces as there are steps between different values: a linear layer can give each value its own output."""
    values = np.repeat([0.0, 1.0, 2.0, 5.0, 9.0], 20)
    encoded = pieces(values, edges(np.sort(values)))
    wanted = np.repeat([0.3, -2.0, 4.0, 4.0, -1.0], 20)
    design = np.column_stack([np.ones(len(values)), encoded])
    solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    assert np.abs(design @ solution - wanted).max() < 1e-12


def test_bins_hold_equally_many_rows():
    values = np.random.default_rng(0).lognormal(size=1601)
    quantiles = np.quantile(values, np.linspace(0, 1, 1000))
    counts, _ = np.histogram(values, edges(quantiles))
    assert len(counts) == BINS
    assert np.all(np.abs(counts - 1601 / BINS) <= 1 + 1601 / 999)  # an end is off by half a landmark at most, each side


def fitted(frame: pd.DataFrame) -> tuple[Encoder, dict[str, np.ndarray]]:
    encoder = Encoder("piecewise").fit(frame)
    return encoder, dict(zip(encoder.names, encoder.transform(frame).T, strict=True))


def test_the_encoder_adds_pieces_to_numbers_alone():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(size=300),
            "flag": rng.integers(0, 2, 300),
            "level": rng.choice(["a", "b"], 300),
            "constant": 4.0,
        }
    )
    encoder, columns = fitted(frame)
    plain = Encoder().fit(frame)
    ours = [name for name in encoder.names if " piece " in name]
    assert ours == [f"amount piece {i + 1}" for i in range(BINS)]  # of two values, a piece says nothing new
    assert [name for name in encoder.names if name not in ours] == plain.names
    kept = [encoder.names.index(name) for name in plain.names]
    assert encoder.transform(frame)[:, kept].tobytes() == plain.transform(frame).tobytes()
    variances = [columns[name].astype(np.float64).var() for name in ours]
    assert abs(sum(variances) - 1) < 1e-5  # of float32 columns
    ends = edges(np.quantile(frame["amount"], np.linspace(0, 1, 300)))
    raw = pieces(frame["amount"].to_numpy(), ends)
    wanted = (raw - raw.mean(0)) / np.sqrt(raw.var(0).sum())
    assert np.abs(np.column_stack([columns[name] for name in ours]) - wanted).max() < LIMIT * 2**-24


def test_missing_values_are_pieces_of_the_median_and_marked():
    values = np.arange(101.0)
    frame = pd.DataFrame({"x": [*values, None, None]})
    encoder, columns = fitted(frame)
    ours = [name for name in encoder.names if " piece " in name]
    for name in ours:
        assert columns[name][101] == columns[name][102] == columns[name][50]
    assert columns["x is missing"][101] > columns["x is missing"][50]
    unseen = encoder.transform(pd.DataFrame({"x": [-1e9, 0.0, 100.0, 1e9]}))
    at = [encoder.names.index(name) for name in ours]
    assert unseen[0, at].tolist() == unseen[1, at].tolist()
    assert unseen[3, at].tolist() == unseen[2, at].tolist()


@given(hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(allow_nan=True, allow_infinity=False)))
def test_numbers_of_any_size_are_encoded_and_saved(values):
    frame = pd.DataFrame({"x": values, "other": np.arange(len(values))})
    encoder, columns = fitted(frame)
    matrix = np.column_stack(list(columns.values()))
    assert np.isfinite(matrix).all()
    assert np.abs(matrix).max() <= LIMIT
    assert Encoder.loads(encoder.dumps()).transform(frame).tobytes() == encoder.transform(frame).tobytes()


def test_a_saved_encoder_of_another_shape_is_refused():
    frame = pd.DataFrame({"x": np.arange(50.0)})
    piecewise, plain = Encoder("piecewise").fit(frame), Encoder().fit(frame)
    piecewise._encodings = plain._encodings  # pieces that the scale has, but no column
    with pytest.raises(InputError, match="must be as the study wrote it"):
        Encoder.loads(piecewise.dumps())


def test_a_study_trains_predicts_and_loads_with_pieces(tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"x": rng.uniform(-1, 1, 300), "z": rng.standard_normal(300)})
    frame["y"] = np.where(np.sin(9 * frame["x"]) > 0, "up", "down")
    table = load(frame, "y")
    setting = Setting(embedding="piecewise")
    plan = make_plan(table, arms=[Arm("own", "pieces", (setting,))], folds=2, seeds=1, epochs=20)
    store = Store.in_memory(plan)
    run(table, plan, store, lambda step: None)
    plain, piecewise = (np.mean([n.best.test for n in store.networks() if n.setting == number]) for number in (0, 1))
    assert piecewise < plain  # a wave is linear in the pieces
    fitted_model = model.fit(table, TrainingConfig.of_plan(plan), setting)
    fitted_model.save(tmp_path / "model")
    loaded = model.Model.load(tmp_path / "model")
    features = frame.drop(columns="y")
    assert loaded.predict(features).tobytes() == fitted_model.predict(features).tobytes()
    assert loaded.metadata.inputs == len(Encoder("piecewise").fit(features).names)
