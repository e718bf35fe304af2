"""Stores whose plan is replaced."""

from pathlib import Path

import pytest
from study_cases import make_plan

from thinned.errors import InputError
from thinned.studies.training.store import Origin, open_store, read_store


def test_a_plan_that_kept_nothing_leaves_no_origin(tmp_path: Path) -> None:
    plan = make_plan()
    with open_store(tmp_path, plan) as store:
        store.keep_origin(plan, Origin("old.csv", "y"))
    assert read_store(tmp_path).origin == Origin("old.csv", "y")
    with open_store(tmp_path, make_plan(folds=4)):
        pass
    with pytest.raises(InputError, match="not written with --shard"):
        read_store(tmp_path)
