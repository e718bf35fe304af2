"""The settings that a pilot chooses: of each arm the one of least validation loss."""

from collections.abc import Sequence

import numpy as np

from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.results import PilotSetting, PilotSummary
from thinned.studies.training.records import TrainedNetwork

__all__ = ["choose_settings", "summarise_pilot"]


def choose_settings(networks: Sequence[TrainedNetwork], plan: Plan) -> dict[str, Setting]:
    """Choose the setting of least mean validation loss of each arm, by the arm's name.

    Args:
        networks: all networks of the pilot.
        plan: its plan.

    Raises:
        InputError: the networks of every setting diverged.
    """
    trained = TrainedNetworks(networks, plan)
    return {name: trained.setting(trained.least_loss(settings)) for name, settings in trained.arms.items()}


def summarise_pilot(networks: Sequence[TrainedNetwork], plan: Plan, nested: int) -> PilotSummary:
    """Summarise a pilot for the results.

    Args:
        networks: all networks of the pilot.
        plan: its plan.
        nested: number of networks that the full nested design would have trained.
    """
    trained = TrainedNetworks(networks, plan)
    chosen = {trained.least_loss(settings): name for name, settings in reversed(trained.arms.items())}
    settings = tuple(
        PilotSetting(
            label=trained.setting(s).label,
            dropout=trained.setting(s).dropout,
            validation=tuple(trained.losses(s, "best", "validation").tolist()),
            best_epoch=float(np.median([split[s].best_epoch for split in trained.splits])),
            chosen=s in chosen,
        )
        for s in trained.settings
    )
    return PilotSummary(networks=len(networks), seeds=plan.seeds, settings=settings, nested=nested)
