"""Studies in parts: each trains a share of the plan into a store of its own, and the stores are merged."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from thinned.errors import InputError, sentence
from thinned.studies.api import Study, finish_study, load_table
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned.studies.progress_bar import ReportProgress
from thinned.studies.table.load import Table
from thinned.studies.training.engines.choose import EngineName
from thinned.studies.training.engines.open_engine import open_engine
from thinned.studies.training.jobs import run
from thinned.studies.training.merged_stores import add_networks, check_same
from thinned.studies.training.shard import Shard
from thinned.studies.training.store import TEMPORARY, Origin, StoredRun, open_store, read_store

__all__ = ["merge_shards", "train_shard"]


def train_shard(
    data: Any,
    target: str,
    shard: str,
    *,
    out: str | os.PathLike[str],
    progress: ReportProgress = lambda step, plan: None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: Unpack[OptionKeywords],
) -> int:
    """Train a share of a study's networks, as one task of a batch queue's array.

    Args:
        data: as for :func:`thinned.study`.
        target: the column to predict.
        shard: which share, as "3/16": the third of sixteen.
        out: folder for the share's store, another one for each share.
        progress: called during training with the state of the study and its plan.
        jobs: as for :func:`thinned.study`.
        engine: as for :func:`thinned.study`.
        address: as for :func:`thinned.study`.
        options: those of :func:`thinned.study`, the same for every share.

    Returns:
        The number of finished networks in the store.

    Raises:
        InputError: as :func:`thinned.study`, or there is no such share.
    """
    part, chosen, folder = Shard.parse(shard), StudyOptions(**options), Path(out)
    with open_engine(data, folder, chosen.network, jobs, engine, address) as workers:
        table = load_table(data, target, chosen)
        plan = make_plan(table, chosen)
        file = str(Path(data).absolute()) if isinstance(data, str | os.PathLike) else None
        with open_store(folder, plan) as store:
            store.keep_origin(plan, Origin(file, target))
            run(
                table,
                plan,
                store,
                lambda step: progress(step, plan),
                chosen.minutes,
                engine=workers,
                folder=folder / TEMPORARY,
                shard=part,
            )
            return len(store)


def merge_shards(
    folders: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    data: Any = None,
    progress: ReportProgress = lambda step, plan: None,
    command: str | None = None,
) -> Study:
    """Put the stores of shards together, analyse them and write the report and the model.

    Args:
        folders: of the shards, in any order.
        out: folder for the study.
        data: the table; None reads the file that the shards were given.
        progress: called while the recommended network is fitted.
        command: the command line, shown in the report.

    Returns:
        The finished study.

    Raises:
        InputError: a folder holds no shard; the shards are of different plans, versions or instruction sets; networks
            are missing; or the table can't be read or has changed.
    """
    places = [Path(folder) for folder in folders]
    parts = [read_store(place) for place in places]
    if not parts:
        raise InputError(sentence("merging needs the folders of shards", "got none"))
    check_same(parts, places)
    plan, table = parts[0].plan, _load(parts[0], data)
    with open_store(Path(out), plan, parts[0].environment) as store:
        add_networks(store, parts)
        if len(store) < plan.networks:
            found = f"{len(store):,} of {plan.networks:,} networks are in these folders"
            remedy = "run the other shards, or those that stopped, and merge again"
            raise InputError(sentence("merging needs every network of the plan", found, remedy))
        return finish_study(table, plan, store, progress, command)


def _load(part: StoredRun, data: Any) -> Table:
    plan, origin = part.plan, part.origin
    if origin is None or (data is None and origin.file is None):
        raise InputError(sentence("merging needs the table", "the shards were given a data frame", "pass it as data"))
    source = origin.file if data is None else data
    options = StudyOptions(
        task=plan.task,  # type: ignore[arg-type]  # a plan's is any text
        folds=plan.folds,
        group=plan.group,
        time=plan.time,
        group_duplicates=plan.group_duplicates,
        columns=dict(plan.columns) or None,
    )
    table = load_table(source, origin.target, options)
    if table.sha256 != plan.data:
        raise InputError(sentence("merging needs the table of the shards", "it has changed since", "restore it"))
    return table
