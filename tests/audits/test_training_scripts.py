"""Training scripts in many styles: TD105 and TD106 find what is planted, and nothing in the correct scripts."""

import importlib
import random
from pathlib import Path

import pytest

from thinned.audits.source import audit_text

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def plants():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("audit_source_plants")


def test_correct_scripts_have_no_findings(plants) -> None:
    for name, text in plants.source_hosts("TD105"):
        assert [(name, finding.code) for finding in audit_text(text)] == []


@pytest.mark.parametrize("code", ["TD105", "TD106"])
def test_planted_mistakes_are_found(plants, code: str) -> None:
    missed = []
    for name, text in plants.source_hosts(code):
        planted = plants.SOURCE_PLANTS[code](text, random.Random(f"{code} {name}"))
        if planted is not None and code not in {finding.code for finding in audit_text(planted)}:
            missed.append(name)
    assert missed == []
