"""What the number of rows decides: widths, epochs, rows of a step, repeats."""

import dataclasses

import pytest
from study_cases import make_plan as make_case
from study_cases import make_table

from thinned.studies.design.budget import choose_budget, default_epochs, default_repeats
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.options import StudyOptions


@pytest.mark.parametrize("rows", [30, 113, 178, 640, 2_000, 3_199, 3_200, 40_000, 10**7])
def test_small_tables_have_as_many_steps_as_others_and_large_ones_no_more_epochs(rows: int) -> None:
    budget = choose_budget(rows, rows)
    steps = rows // budget.batch_size
    assert budget.epochs * steps >= 4_900
    assert budget.epochs == default_epochs(rows) or (budget.epochs - 1) * steps < 5_000


def test_a_budget_of_the_user_stands() -> None:
    assert choose_budget(100, 64, (8,), 3, 1000) == ((8,), 3, 64)
    assert choose_budget(100, 64, batch_size=64).epochs == 5_000


def test_a_part_of_the_rows_has_the_budget_of_a_table_with_so_many() -> None:
    sized = dataclasses.replace(make_case(), sizes=(250,)).at_size(250)
    assert (sized.epochs, sized.batch_size) == choose_budget(250, 250)[1:]


def test_small_tables_have_four_repeats() -> None:
    assert [default_repeats(rows) for rows in (100, 2_000, 2_001, 10**6)] == [4, 4, 2, 2]
    small = make_table(100)
    assert make_plan(small).seeds == 4
    assert make_plan(small, seeds=1).seeds == 1
    assert make_plan(small, StudyOptions(network="user_networks:user_network")).seeds == 2
