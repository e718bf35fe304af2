"""A study of a network of one's own: from examples and a function that builds it to a verdict and a report."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from torch import nn

from thinned.errors import InputError, sentence
from thinned.studies.design.own_network.cost import (
    Timing,
    describe_cost,
    describe_fitted,
    describe_nested_cost,
    fit_to_minutes,
)
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.own_network.stages import pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.network_preparation import prepare_network_study
from thinned.studies.network_results import FinishedNetworks, Pilot, finish_networks, finish_pilot, missing_arms
from thinned.studies.progress_bar import ReportProgress
from thinned.studies.training.drive import Progress
from thinned.studies.training.engines.choose import EngineName, choose_engine
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.loop.timing import measure_time
from thinned.studies.training.network_run import NetworkStudy, run_networks
from thinned.studies.training.own_training.timing import measure_function
from thinned.studies.training.store import (
    PILOT,
    TEMPORARY,
    TIMING,
    check_folder,
    finished_networks,
    open_store,
    write_text,
    writing,
)
from thinned.studies.user_code import memory_errors

__all__ = ["Workers", "check_output", "study_network"]


class Workers(NamedTuple):
    """Where jobs run: see :func:`thinned.study`."""

    jobs: int | None = None
    engine: EngineName | None = None
    address: str | None = None


def study_network(
    data: object,
    network: str | Callable[[], nn.Module],
    folder: Path,
    options: NetworkOptions,
    workers: Workers,
    progress: ReportProgress,
    command: str | None,
) -> FinishedNetworks:
    """Measure on held-out examples which way to regularise helps a network; see :func:`thinned.study`.

    Raises:
        InputError: the data, the network, an option or the folder can't be used.
    """
    study, prepared = prepare_network_study(data, network, options)
    check_output(folder, options.design)
    for notice in study.examples.notices:
        progress(Progress(notice.message, 0), prepared)
    accelerators = study.config.torch_device().type != "cpu"
    with contextlib.closing(choose_engine(*workers, accelerators=accelerators)) as engine:
        plan = _timed(study, prepared, folder, options, engine, progress)
        untried = missing_arms(prepared, plan, "left out to fit the time limit")
        pilot = None
        if options.design == "confirm":
            pilot = _pilot(study, plan, folder / PILOT, engine, progress)
            plan = pilot.confirm
        with open_store(folder, plan) as store:
            report: Callable[[Progress], None] = lambda step: progress(step, plan)  # noqa: E731
            run_networks(study, plan, store, report, engine=engine, folder=folder / TEMPORARY)
            return finish_networks(study, plan, store, pilot, command, untried)


def check_output(folder: Path, design: Literal["confirm", "nested"]) -> None:
    """Refuse a folder of something else before anything is written or trained."""
    with writing():
        check_folder(folder)
    trained, pilot = finished_networks(folder), finished_networks(folder / PILOT)
    if (pilot and design == "nested") or (trained and not pilot and design == "confirm"):
        requirement = "the output folder must be new, empty or that of the same study"
        value = f"that in {folder} has another design"
        raise InputError(sentence(requirement, value, "choose another folder with out="))


class _KeptTiming(msgspec.Struct, frozen=True):
    """The times by which a design was chosen, as a study's folder keeps them."""

    timing: Timing
    minutes: float | None


def _timed(
    study: NetworkStudy, plan: Plan, folder: Path, options: NetworkOptions, engine: Engine, progress: ReportProgress
) -> Plan:
    """Say what a plan costs, and make it fit the time limit. The measured times are kept and never measured again."""
    minutes = options.minutes
    started = finished_networks(folder) or finished_networks(folder / PILOT)
    kept = _read_timing(folder / TIMING) if started else None
    if kept is not None and minutes not in (None, kept.minutes):
        value = f"there were {kept.minutes:g}" if kept.minutes is not None else "there was no limit"
        requirement = f"minutes must be those by which the study in {folder} was designed"
        raise InputError(sentence(requirement, f"{value}, and now {minutes:g}", "leave minutes out"))
    if kept is None:
        if study.functions.train is not None:
            progress(Progress("training one network, to measure the time", 0), plan)
        kept = _KeptTiming(_measure(study, plan, engine.workers), minutes)
        with writing():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / TIMING, msgspec.json.encode(kept).decode())
    if options.design == "nested":
        progress(Progress(describe_nested_cost(plan, kept.timing), 0), plan)
        return plan
    text = describe_cost(plan, kept.timing)
    if kept.minutes is not None:
        fitted = fit_to_minutes(plan, kept.timing, kept.minutes, keep_arms=options.arms is not None)
        plan, text = fitted.plan, describe_fitted(fitted, kept.timing, kept.minutes)
    progress(Progress(" ".join(text), 0), plan)
    return plan


def _measure(study: NetworkStudy, plan: Plan, processes: int) -> Timing:
    pilot = pilot_plan(plan)
    split = network_splits(pilot, study.examples)[0]
    setting = max(plan.settings, key=lambda setting: setting.drops)  # dropout costs time
    if study.functions.train is not None:
        with memory_errors():
            seconds = measure_function(study, setting, plan.settings, split)
        return Timing(seconds / len(split.train), 0.0, processes=processes)
    apply = partial(study.application, setting=setting)
    with memory_errors():
        measured = measure_time(study.functions, apply, study.examples, split, study.config)
    # evaluation after each epoch is part of an epoch's time, which grows with the training examples
    return Timing(measured.epoch / len(split.train), 0.0, measured.network, processes)


def _read_timing(path: Path) -> _KeptTiming | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_KeptTiming)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        remedy = "remove it: the times are measured anew, and the design may become another"
        raise InputError(sentence(f"{path} must be as the study wrote it", str(error), remedy)) from None


def _pilot(study: NetworkStudy, plan: Plan, folder: Path, engine: Engine, progress: ReportProgress) -> Pilot:
    """Train the pilot, and make the plan of the confirmation from what it chose."""
    pilot = pilot_plan(plan)
    with open_store(folder, pilot) as store:
        report: Callable[[Progress], None] = lambda step: progress(step, pilot)  # noqa: E731
        run_networks(study, pilot, store, report, engine=engine, folder=folder / TEMPORARY)
        return finish_pilot(plan, store.networks())
