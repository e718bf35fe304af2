"""A study of a network of one's own: from examples and a function that builds it to a verdict and a report."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from torch import nn

from thinned.errors import InputError, sentence
from thinned.import_path import import_object, source_digest
from thinned.studies import results
from thinned.studies.analysis.analyse import Content, results_of
from thinned.studies.analysis.pilot_choice import choose_settings, summarise_pilot
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.own_network.make_network_plan import budget_of_options, make_network_plan
from thinned.studies.design.own_network.network_design import Identities
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.own_network.site_groups import NetworkSites, find_network_sites
from thinned.studies.design.own_network.stages import confirm_plan, pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import test_share
from thinned.studies.examples.batch import Inputs
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.load import load_examples
from thinned.studies.run_summary import finished_part, summarise_run
from thinned.studies.training.drive import Progress
from thinned.studies.training.engines.choose import EngineName, choose_engine
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.engines.worker import visible_devices
from thinned.studies.training.loop.check import check_network
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.network_run import ApplyToSites, NetworkStudy, run_networks
from thinned.studies.training.store import PILOT, TEMPORARY, open_store

__all__ = ["NetworkProgress", "Workers", "study_network"]

#: called during training with the state of the study and the plan of its present stage
NetworkProgress = Callable[[Progress, Plan], None]


class Workers(NamedTuple):
    """Where jobs run: see :func:`thinned.study`."""

    jobs: int | None = None
    engine: EngineName | None = None
    address: str | None = None


class _Prepared(NamedTuple):
    """A study that was checked, and its plan with all settings."""

    study: NetworkStudy
    plan: Plan


def study_network(
    data: object,
    network: str | Callable[[], nn.Module],
    folder: Path,
    options: NetworkOptions,
    workers: Workers,
    progress: NetworkProgress,
    command: str | None,
) -> results.Results:
    """Measure on held-out examples which way to regularise helps a network; see :func:`thinned.study`.

    Raises:
        InputError: the data, the network, an option or the folder can't be used.
    """
    study, plan = _prepare(data, network, options)
    with contextlib.ExitStack() as stack:
        engine = _start(workers, study.config)
        stack.callback(engine.close)
        pilot = None
        if options.design == "confirm":
            plan, pilot = _pilot(study, plan, folder / PILOT, engine, progress, options.minutes)
        with open_store(folder, plan) as store:
            report: Callable[[Progress], None] = lambda step: progress(step, plan)  # noqa: E731
            run_networks(study, plan, store, report, options.minutes, engine=engine, folder=folder / TEMPORARY)
            networks, finished = finished_part(store.networks(), plan)
            summary = summarise_run(plan, finished, store, command)
            epoch_seconds = store.seconds / (len(store) * plan.epochs)
    splits = network_splits(plan, study.examples)
    examples = study.examples
    ratio = examples.test_count / examples.count if examples.test_count else test_share(splits)
    trained = TrainedNetworks(networks, finished, ratio)
    rows = [len(split.train) for split in splits]
    content = results_of(trained, Content(_data_summary(examples), plan, summary, networks, rows, epoch_seconds))
    return content if pilot is None else msgspec.structs.replace(content, pilot=pilot)


def _prepare(data: object, network: str | Callable[[], nn.Module], options: NetworkOptions) -> _Prepared:
    """Read the examples, try the network on them, find its sites, and make the plan."""
    examples = load_examples(
        data,
        collate_fn=options.collate_fn,
        groups=options.groups,
        time=options.time,
        task=options.task,
        data_version=options.data_version,
    )
    build = import_object(network, "the network") if isinstance(network, str) else network
    if not callable(build):
        value = f"got {type(build).__name__}"
        raise InputError(sentence("network must be a function without arguments that builds a module", value))
    functions = NetworkFunctions(build, options.loss, options.score, options.sampler)
    config = _config(options, examples)
    state = check_network(functions, examples, config)
    sites = _sites(functions, examples, config)
    identities = Identities(
        build=source_digest(build),
        state=state,
        loss=None if options.loss is None else source_digest(options.loss),
        score=None if options.score is None else source_digest(options.score),
    )
    name = network if isinstance(network, str) else f"{build.__module__}:{getattr(build, '__qualname__', 'network')}"
    plan = make_network_plan(examples, sites, options, identities, network=name)
    return _Prepared(NetworkStudy(functions, ApplyToSites(sites.studied), examples, config), plan)


def _config(options: NetworkOptions, examples: ExampleSet) -> NetworkConfig:
    epochs, batch_size = budget_of_options(options, examples)
    return NetworkConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        optimizer=options.optimizer,
        momentum=options.momentum,
        schedule=options.schedule,
        patience=options.patience,
        clip=options.clip,
        precision=options.precision,
        device=options.device,
        loader_workers=options.loader_workers,
    )


def _sites(functions: NetworkFunctions, examples: ExampleSet, config: NetworkConfig) -> NetworkSites:
    network, x = functions.build(), examples.batch(range(min(config.batch_size, examples.count)), "train").x
    args, kwargs = _arguments(x)
    return find_network_sites(network, *args, **kwargs)


def _arguments(x: Inputs) -> tuple[tuple[object, ...], dict[str, object]]:
    if isinstance(x, dict):
        return (), dict(x)
    return (x if isinstance(x, tuple) else (x,)), {}


def _start(workers: Workers, config: NetworkConfig) -> Engine:
    jobs = workers.jobs
    if jobs is None and workers.engine is None and config.torch_device().type != "cpu":
        jobs = max(1, len(visible_devices()))
    return choose_engine(jobs, workers.engine, workers.address)


def _pilot(
    study: NetworkStudy,
    plan: Plan,
    folder: Path,
    engine: Engine,
    progress: NetworkProgress,
    minutes: float | None,
) -> tuple[Plan, results.PilotSummary]:
    """Train the pilot, and make the plan of the confirmation from what it chose."""
    pilot = pilot_plan(plan)
    with open_store(folder, pilot) as store:
        report: Callable[[Progress], None] = lambda step: progress(step, pilot)  # noqa: E731
        run_networks(study, pilot, store, report, minutes, engine=engine, folder=folder / TEMPORARY)
        networks = store.networks()
    if len(networks) < pilot.networks:
        value, remedy = f"{len(networks)} of {pilot.networks} networks are", "run it again with more minutes"
        raise InputError(sentence("the pilot must be finished before anything is confirmed", value, remedy))
    confirm = confirm_plan(plan, choose_settings(networks, pilot), pilot.digest)
    return confirm, summarise_pilot(networks, pilot, plan.networks)


def _data_summary(examples: ExampleSet) -> results.DataSummary:
    counts = np.bincount(examples.target.astype(np.int64), minlength=len(examples.classes)) if examples.classes else []
    return results.DataSummary(
        name=examples.name,
        rows=examples.count,
        columns=0,
        target="",
        task=examples.task,
        classes={name: int(count) for name, count in zip(examples.classes, counts, strict=True)},
        sha256=examples.sha256,
        read_as={},
    )
