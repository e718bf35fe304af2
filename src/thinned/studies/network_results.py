"""The results of a study of a network of one's own, from the stores of its stages."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from thinned.errors import InputError, sentence
from thinned.studies import results
from thinned.studies.analysis.analyse import Content, results_of
from thinned.studies.analysis.pilot_choice import choose_settings, summarise_pilot
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.own_network.stages import confirm_plan, pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import test_share
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.run_summary import finished_part, summarise_run
from thinned.studies.training.network_run import NetworkStudy
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import Store

__all__ = ["FinishedNetworks", "Pilot", "finish_networks", "finish_pilot", "missing_arms"]


class Pilot(NamedTuple):
    """A finished pilot.

    Attributes:
        trained: its networks.
        summary: what is told of it.
        confirm: the plan of the confirmation that follows from it.
        untried: the label of each arm that is not in that plan, with the reason.
    """

    trained: TrainedNetworks
    summary: results.PilotSummary
    confirm: Plan
    untried: dict[str, str]


class FinishedNetworks(NamedTuple):
    """A study whose networks are trained and analysed.

    Attributes:
        study: what they were trained from.
        plan: the plan whose settings were compared.
        results: what was found.
    """

    study: NetworkStudy
    plan: Plan
    results: results.Results


def finish_pilot(plan: Plan, networks: list[TrainedNetwork]) -> Pilot:
    """Choose the setting of each arm, and make the plan of the confirmation.

    Args:
        plan: the plan with all settings.
        networks: all networks of its pilot.

    Raises:
        InputError: too many of them diverged.
    """
    pilot = pilot_plan(plan)
    chosen = choose_settings(networks, pilot)
    confirm = confirm_plan(plan, chosen, pilot.digest)
    if not {"reference", "method"} <= {arm.kind for arm in confirm.arms}:
        labels = ", ".join(arm.label for arm in plan.arms if arm.name not in chosen)
        remedy = "lower the learning rate, or look for extreme values in the examples"
        raise InputError(
            sentence("no regularisation and another arm must stay finite in the pilot", f"{labels} did not", remedy)
        )
    untried = missing_arms(plan, confirm, "its networks diverged in the pilot")
    return Pilot(TrainedNetworks(networks, pilot), summarise_pilot(networks, pilot, plan.networks), confirm, untried)


def missing_arms(before: Plan, after: Plan, reason: str) -> dict[str, str]:
    """The label of each arm that the second plan does not have, with the reason."""
    names = {arm.name for arm in after.arms}
    return {arm.label: reason for arm in before.arms if arm.name not in names}


def finish_networks(
    study: NetworkStudy,
    plan: Plan,
    store: Store,
    pilot: Pilot | None,
    command: str | None,
    untried: Mapping[str, str],
) -> FinishedNetworks:
    """Analyse the networks of a store.

    Args:
        study: what they were trained from.
        plan: their plan.
        store: holds all of them.
        pilot: the pilot that chose their settings, if there was one.
        command: the command line, shown in the report.
        untried: the label of each arm that is not in the plan, with the reason; those of the pilot come besides.

    Raises:
        InputError: the networks of too many settings diverged.
    """
    networks, finished = finished_part(store.networks(), plan)
    summary = summarise_run(plan, finished, store, command, {**untried, **(pilot.untried if pilot else {})})
    epoch_seconds = store.seconds / (len(store) * plan.epochs)
    splits = network_splits(plan, study.examples)
    examples = study.examples
    ratio = examples.test_count / examples.count if examples.test_count else test_share(splits)
    trained = TrainedNetworks(networks, finished, ratio, clusters=examples.test_groups)
    rows = [len(split.train) for split in splits]
    chose = pilot.trained if pilot else None
    data_summary = _data_summary(examples)
    content = Content(data_summary, plan, summary, networks, rows, epoch_seconds, chose, examples.notices)
    found = results_of(trained, content)
    if pilot is not None:
        found = msgspec.structs.replace(found, pilot=pilot.summary)
    return FinishedNetworks(study, plan, found)


def _data_summary(examples: ExampleSet) -> results.DataSummary:
    counts = [0] * len(examples.classes)
    if examples.classes:
        counts = np.bincount(examples.target.astype(np.int64), minlength=len(examples.classes)).tolist()
    return results.DataSummary(
        name=examples.name,
        rows=examples.count,
        columns=0,
        target="",
        task=examples.task,
        classes=dict(zip(examples.classes, counts, strict=True)),
        sha256=examples.sha256,
        read_as={},
    )
