"""Records of trained networks: written and read without loss, refused when damaged."""

import json
import math

import numpy as np
import pytest

from thinned.studies.design.plan import Member
from thinned.studies.training.records import (
    Coadaptation,
    Curves,
    DrawnScores,
    Evaluation,
    ExampleLosses,
    Probes,
    TrainedNetwork,
)


def make_network(**changes: object) -> TrainedNetwork:
    evaluation = Evaluation(0.1, 0.2, 0.3, {"log_loss": 0.3, "roc_auc": math.nan})
    fields = {
        "repeat": 1,
        "fold": 2,
        "setting": 3,
        "size": 0,
        "best_epoch": 2,
        "best": evaluation,
        "end": Evaluation(None, None, None, {"log_loss": None, "roc_auc": None}),
        "curves": Curves((0.5, 0.1), (0.6, None)),
        "probes": Probes(coadaptation=Coadaptation(0.25, (0.3, 0.4))),
    }
    return TrainedNetwork(**fields | changes)  # type: ignore[arg-type]


def test_a_record_is_read_as_it_was_written() -> None:
    network = make_network()
    text = network.to_json()
    assert repr(TrainedNetwork.from_json(text)) == repr(network)  # NaN is not equal to itself
    assert network.member == Member(1, 2, 3)
    assert network.evaluation("best") is network.best
    assert network.evaluation("end") is network.end


def test_the_text_is_that_of_earlier_versions() -> None:
    """Field order, null for a number that a diverged network does not have, and no entry for what was not probed."""
    assert json.loads(make_network().to_json()) | {"best": 0} == {
        "repeat": 1,
        "fold": 2,
        "setting": 3,
        "size": 0,
        "best_epoch": 2,
        "best": 0,
        "end": {"train": None, "validation": None, "test": None, "scores": {"log_loss": None, "roc_auc": None}},
        "curves": {"train": [0.5, 0.1], "validation": [0.6, None]},
        "probes": {"coadaptation": {"dependence": 0.25, "removal": [0.3, 0.4]}},
    }
    fields = [name for name in TrainedNetwork.__struct_fields__ if name not in ("example_losses", "drawn_scores")]
    assert list(json.loads(make_network().to_json())) == fields


def test_losses_of_examples_are_read_as_they_were_written() -> None:
    losses = np.array([0.25, math.inf, 1e-3], dtype="<f4")
    network = make_network(example_losses=ExampleLosses(losses.tobytes(), losses[::-1].tobytes()))
    kept = TrainedNetwork.from_json(network.to_json()).example_losses
    assert kept is not None
    np.testing.assert_array_equal(kept.values("best"), losses)
    np.testing.assert_array_equal(kept.values("end"), losses[::-1])


def test_drawn_scores_are_read_as_they_were_written() -> None:
    draws = np.array([0.25, math.nan, 1e-3], dtype="<f4")
    network = make_network(drawn_scores=DrawnScores({"roc_auc": draws.tobytes()}, {}))
    kept = TrainedNetwork.from_json(network.to_json()).drawn_scores
    assert kept is not None
    np.testing.assert_array_equal(kept.values("best", "roc_auc"), draws)
    assert kept.values("end", "roc_auc") is None


def test_a_record_of_an_earlier_version_has_no_probes() -> None:
    entries = json.loads(make_network().to_json())
    del entries["probes"]
    assert TrainedNetwork.from_json(json.dumps(entries)).probes == Probes()


@pytest.mark.parametrize(
    ("damage", "path"),
    [
        ({"fold": 1.5}, r"\$\.fold"),
        ({"size": True}, r"\$\.size"),
        ({"best": {"train": 1.0}}, r"\$\.best"),
        ({"end": [1]}, r"\$\.end"),
        ({"curves": {"train": ["a"], "validation": []}}, r"\$\.curves\.train\[0\]"),
        ({"probes": {"coadaptation": {"dependence": 1.0, "removal": 3}}}, r"\$\.probes\.coadaptation\.removal"),
    ],
)
def test_a_damaged_record_is_refused_with_its_path(damage: dict[str, object], path: str) -> None:
    text = json.dumps(json.loads(make_network().to_json()) | damage)
    with pytest.raises(ValueError, match=path):
        TrainedNetwork.from_json(text)
