"""Shards of studies of a network of one's own: each trains a share of one stage, and their stores are merged."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Unpack

import msgspec
from torch import nn

from thinned.errors import InputError, sentence
from thinned.studies.api import Study, finish_network_study
from thinned.studies.design.own_network.options import NetworkKeywords, NetworkOptions
from thinned.studies.design.own_network.stages import pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.network_api import check_output
from thinned.studies.network_preparation import prepare_network_study
from thinned.studies.network_results import Pilot, finish_networks, finish_pilot
from thinned.studies.progress_bar import ReportProgress
from thinned.studies.training.drive import Progress
from thinned.studies.training.engines.choose import EngineName, choose_engine
from thinned.studies.training.merged_stores import add_networks, check_same
from thinned.studies.training.network_origin import NetworkOrigin, network_origin
from thinned.studies.training.network_run import run_networks
from thinned.studies.training.shard import Shard
from thinned.studies.training.store import PILOT, TEMPORARY, Origin, StoredRun, holds_store, open_store, read_store

__all__ = ["MergedNetworks", "ShardStage", "is_network_shard", "merge_network_shards", "train_network_shard"]

ShardStage = Literal["pilot", "confirm"]


class MergedNetworks(NamedTuple):
    """What merged shards are.

    Attributes:
        networks: how many there are.
        study: the finished study; None where they are those of the pilot, which the confirmation follows.
    """

    networks: int
    study: Study | None


def train_network_shard(
    data: object,
    network: str | Callable[[], nn.Module],
    shard: str,
    *,
    out: str | os.PathLike[str],
    stage: ShardStage | None = None,
    pilot: str | os.PathLike[str] | None = None,
    progress: ReportProgress = lambda step, plan: None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: Unpack[NetworkKeywords],
) -> int:
    """Train a share of the networks of one stage of a study, as one task of a batch queue's array.

    Args:
        data: as for :func:`thinned.study`.
        network: as for :func:`thinned.study`.
        shard: which share, as "3/16": the third of sixteen.
        out: folder for the share's store, another one for each share.
        stage: "pilot" or "confirm"; None with ``design="nested"``, which has no stages.
        pilot: folder of the merged pilot, which the confirmation needs.
        progress: called during training with the state of the study and the plan of its stage.
        jobs: as for :func:`thinned.study`.
        engine: as for :func:`thinned.study`.
        address: as for :func:`thinned.study`.
        options: those of :func:`thinned.study` but ``minutes``, the same for every share of both stages.

    Returns:
        The number of finished networks in the share's store.

    Raises:
        InputError: as :func:`thinned.study`, or there is no such share, or the pilot is another or not complete.
    """
    part, chosen, folder = Shard.parse(shard), NetworkOptions(**options), Path(out)
    _check_stage(chosen, stage, pilot)
    study, plan = prepare_network_study(data, network, chosen)
    check_output(folder, chosen.design)
    for notice in study.examples.notices:
        progress(Progress(notice.message, 0), plan)
    place = folder / PILOT if stage == "pilot" else folder
    if stage == "pilot":
        plan = pilot_plan(plan)
    elif pilot is not None:
        stored = _complete_pilot(Path(pilot), plan)
        _keep_pilot(folder, [stored])
        plan = finish_pilot(plan, stored.networks).confirm
    origin = network_origin(str(part), data, network, chosen)
    accelerators = study.config.torch_device().type != "cpu"
    workers = choose_engine(jobs, engine, address, accelerators=accelerators)
    with contextlib.closing(workers), open_store(place, plan) as store:
        store.keep_origin(plan, Origin(None, "", msgspec.to_builtins(origin)))
        report: Callable[[Progress], None] = lambda step: progress(step, plan)  # noqa: E731
        run_networks(study, plan, store, report, engine=workers, folder=place / TEMPORARY, shard=part)
        return len(store)


def merge_network_shards(
    folders: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    data: object = None,
    network: str | Callable[[], nn.Module] | None = None,
    progress: ReportProgress = lambda step, plan: None,
    command: str | None = None,
    **options: Unpack[NetworkKeywords],
) -> MergedNetworks:
    """Put the stores of all shards of a stage together; after the last stage analyse them, and leave the network.

    Args:
        folders: of the shards, in any order.
        out: folder for the merged pilot, or for the study.
        data: the examples; None reads those at the path that the shards had.
        network: the function that builds the network; None imports that of the shards.
        progress: called while the recommended network is trained.
        command: the command line, shown in the report.
        options: those of the shards; none of them takes what the shards had, where that could be written down.

    Raises:
        InputError: a folder holds no shard; the shards are of different plans, pilots, versions or instruction sets;
            networks are missing; or the examples or the network can't be read or have changed.
    """
    places = [_place(Path(folder)) for folder in folders]
    parts = [read_store(place) for place in places]
    if not parts:
        raise InputError(sentence("merging needs the folders of shards", "got none"))
    check_same(parts, places)
    plan, target = parts[0].plan, Path(out)
    _check_complete(parts, places)
    if plan.network_design.stage == "pilot":
        _keep_pilot(target, parts)
        return MergedNetworks(plan.networks, None)
    pilots = [read_store(Path(folder) / PILOT) for folder in folders] if plan.network_design.pilot else []
    if any(pilot.networks != pilots[0].networks for pilot in pilots):
        raise InputError(sentence("shards must follow from one pilot", "their pilots have other numbers"))
    origin = _origin(parts[0])
    given = NetworkOptions(**(options or _kept_options(origin, data, network)))
    content = origin.data if data is None else data
    study, prepared = prepare_network_study(content, origin.network or "" if network is None else network, given)
    pilot: Pilot | None = None
    expected = prepared
    if pilots:
        _keep_pilot(target, pilots[:1])
        pilot = finish_pilot(prepared, pilots[0].networks)
        expected = pilot.confirm
    with open_store(target, plan, parts[0].environment) as store:
        add_networks(store, parts)
    with open_store(target, expected) as store:  # refuses another plan, and says what has changed
        finished = finish_networks(study, expected, store, pilot, command, {})
    return MergedNetworks(plan.networks, finish_network_study(finished, target, progress))


def is_network_shard(folder: Path) -> bool:
    """Tell whether a folder holds a shard of a study of a network of one's own."""
    place = _place(folder)
    return holds_store(place) and read_store(place).plan.own is not None


def _place(folder: Path) -> Path:
    """The folder of a shard's store: that of the pilot where nothing was confirmed yet."""
    return folder / PILOT if holds_store(folder / PILOT) and not holds_store(folder) else folder


def _check_stage(options: NetworkOptions, stage: str | None, pilot: object) -> None:
    """Refuse a stage without meaning, and a design that each shard would choose for itself."""
    if options.minutes is not None:
        value, remedy = "got minutes", "take fewer arms, rates, folds or seeds instead"
        raise InputError(sentence("shards must have one design, which no measured time may change", value, remedy))
    if options.design == "nested":
        if stage is not None or pilot is not None:
            raise InputError(sentence("the nested design has one stage", f"got stage {stage!r}", "leave it out"))
        return
    if stage not in ("pilot", "confirm"):
        remedy = "train and merge the shards of stage pilot first, then those of confirm"
        raise InputError(sentence("a shard must have the stage pilot or confirm", f"got {stage!r}", remedy))
    if (stage == "confirm") != (pilot is not None):
        value = "got none" if pilot is None else f"got stage {stage!r}"
        raise InputError(sentence("the stage confirm, and no other, needs the folder of the merged pilot", value))


def _complete_pilot(folder: Path, plan: Plan) -> StoredRun:
    """The stored pilot of a plan.

    Raises:
        InputError: there is none, it is that of another plan, or networks are missing.
    """
    if not holds_store(folder / PILOT):
        remedy = "merge the shards of stage pilot with `thinned merge`"
        raise InputError(sentence("the pilot must be the folder of a merged pilot", f"{folder} holds none", remedy))
    stored, own = read_store(folder / PILOT), pilot_plan(plan)
    if stored.plan.digest != own.digest:
        value, remedy = f"that in {folder} is another", "give the same data, network and options as for the pilot"
        raise InputError(sentence("the confirmation must follow from the pilot of the same study", value, remedy))
    _check_complete([stored], [folder])
    return stored


def _check_complete(parts: Sequence[StoredRun], places: Sequence[Path]) -> None:
    """Refuse parts that lack networks, and name the shards whose they are."""
    plan = parts[0].plan
    if len({network.member for part in parts for network in part.networks}) == plan.networks:
        return
    shards = [Shard.parse(origin.shard) if (origin := _origin(part)).shard else Shard(1, 1) for part in parts]
    numbers = {shard.number for shard in shards}
    total = max(shard.parts for shard in shards)
    faults = [f"shard {number}/{total} is missing" for number in range(1, total + 1) if number not in numbers]
    for shard, part, place in zip(shards, parts, places, strict=True):
        share = len(range(shard.number - 1, plan.networks, shard.parts))
        if len(part.networks) < share:
            faults.append(f"shard {shard} in {place} has {len(part.networks)} of its {share} networks")
    value = ", ".join(faults) or "there are fewer"
    remedy = "run these shards again, and merge then"
    raise InputError(sentence(f"merging needs all {plan.networks} networks of the stage", value, remedy))


def _keep_pilot(folder: Path, parts: Sequence[StoredRun]) -> None:
    """Put a complete pilot into the folder of a study."""
    plan, origin = parts[0].plan, parts[0].origin
    with open_store(folder / PILOT, plan, parts[0].environment) as store:
        if origin is not None:
            whole = msgspec.structs.replace(_origin(parts[0]), shard="")
            store.keep_origin(plan, origin._replace(own=msgspec.to_builtins(whole)))
        add_networks(store, parts)


def _origin(part: StoredRun) -> NetworkOrigin:
    """What a shard was made of.

    Raises:
        InputError: it is a shard of a table's study, or its entry is damaged.
    """
    try:
        return msgspec.convert(part.origin.own if part.origin else None, NetworkOrigin)
    except msgspec.ValidationError:
        value = "one is of another kind, or damaged"
        raise InputError(sentence("the shards must be of a study of a network of one's own", value)) from None


def _kept_options(origin: NetworkOrigin, data: object, network: object) -> NetworkKeywords:
    """The options that the shards had.

    Raises:
        InputError: some could not be written down.
    """
    given = {"data": data, "network": network}
    lost = [name for name in origin.lost if given.get(name) is None]
    if lost:
        remedy = "pass data, network and all options to thinned.studies.network_shards.merge_network_shards"
        value = f"a folder can't hold {', '.join(lost)}"
        raise InputError(sentence("merging needs what the shards were made of", value, remedy))
    return msgspec.convert(origin.options, dict[str, object])  # type: ignore[return-value]
