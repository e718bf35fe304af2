"""Makes the plan of a study from a table and the options that the user gave."""

import dataclasses
from typing import Unpack

from thinned.import_path import source_digest
from thinned.studies.design.budget import choose_budget, default_repeats
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import VALIDATION
from thinned.studies.table.load import Table

__all__ = ["make_plan"]


def make_plan(table: Table, options: StudyOptions | None = None, **changes: Unpack[OptionKeywords]) -> Plan:
    """Make the plan of a study; what the user left open follows from the number of rows.

    Args:
        table: what is studied.
        options: the user's choice; None takes the defaults.
        changes: options that differ from these.

    Raises:
        InputError: a value can't be used.
    """
    options = dataclasses.replace(options or StudyOptions(), **changes)
    rows, hidden = len(table.target), options.hidden
    # of a test fold; by time, in the mean over growing windows
    outside = 1 / 2 if table.time else 1 - 1 / options.folds
    budget = choose_budget(
        rows,
        int(rows * outside * (1 - VALIDATION)),
        None if hidden is None else tuple(hidden),
        options.epochs,
        options.batch_size,
    )
    return Plan(
        arms=choose_arms(options.arms, options.rates, own_network=options.network is not None),
        folds=options.folds,
        seeds=options.seeds or (default_repeats(rows) if options.network is None else 2),
        **budget._asdict(),
        learning_rate=options.learning_rate,
        seed=options.seed,
        task=table.task,
        data=table.sha256,
        rows=rows,
        sizes=tuple(sorted(set(options.sizes))),
        network=options.network,
        network_source=None if options.network is None else source_digest(options.network),
        group=table.group,
        time=table.time,
        group_duplicates=options.group_duplicates,
        columns=tuple(sorted((options.columns or {}).items())),
    )
