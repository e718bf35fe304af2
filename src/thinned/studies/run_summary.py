"""What of a plan is finished, and how it was trained."""

import platform
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import torch

import thinned
from thinned.errors import InputError, sentence
from thinned.studies import results
from thinned.studies.design.plan import Plan
from thinned.studies.design.unavailable_arms import unavailable_arms
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import Store

__all__ = ["finished_part", "summarise_run"]


def summarise_run(
    plan: Plan, finished: Plan, store: Store, command: str | None, untried: Mapping[str, str] | None = None
) -> results.RunSummary:
    """Summarise the training.

    Args:
        plan: the whole plan.
        finished: the finished part of it.
        store: holds the networks.
        command: the command that began the study.
        untried: label of each arm that was not planned, and why, besides those that the network does not allow.
    """
    names = {arm.name for arm in finished.arms}
    return results.RunSummary(
        networks=len(store),
        left_out=tuple(arm.label for arm in plan.arms if arm.name not in names),
        seconds=store.seconds,
        networks_per_second=len(store) / max(store.seconds, 1e-9),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=torch.get_num_threads(),
        versions={
            "thinned": thinned.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        command=command,
        untried={**unavailable_arms(plan), **(untried or {})},
    )


def finished_part(networks: list[TrainedNetwork], plan: Plan) -> tuple[list[TrainedNetwork], Plan]:
    """The networks whose settings were trained on every split, and the part of the plan that needs no others.

    Raises:
        InputError: no arm besides "none" is finished.
    """
    counts = Counter(network.setting for network in networks if not network.size)
    finished = {setting for setting, count in counts.items() if count == plan.folds * plan.seeds}
    part = plan.restricted_to([plan.settings[setting] for setting in finished])
    kinds = {arm.kind for arm in part.arms}
    if not {"reference", "method"} <= kinds:
        value = f"{len(networks)} of {plan.networks} networks are"
        remedy = "run it again with more minutes; it continues there"
        raise InputError(sentence("no regularisation and another arm must be finished in time", value, remedy))
    return [network for network in networks if network.setting in finished], part
