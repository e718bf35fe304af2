"""Five claims about dropout, each of which may fail."""

from collections.abc import Sequence

from thinned.studies.analysis.claims.coadaptation import coadaptation_claim
from thinned.studies.analysis.claims.epoch_cost import epoch_cost_claim
from thinned.studies.analysis.claims.sample_size import sample_size_claim
from thinned.studies.analysis.claims.underfitting import underfitting_claim
from thinned.studies.analysis.claims.variance_shift import variance_shift_claim
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.results import Claims
from thinned.studies.training.records import TrainedNetwork

__all__ = ["judge_claims"]


def judge_claims(
    trained: TrainedNetworks,
    networks: Sequence[TrainedNetwork],
    training_rows: Sequence[int],
    epoch_seconds: float | None = None,
) -> Claims:
    """Judge every claim that the study can say something about.

    Args:
        trained: the networks that were trained on all rows of a split.
        networks: all networks, those of other sizes included.
        training_rows: number of training rows of each split.
        epoch_seconds: training time of one network for one epoch, if known.
    """
    return Claims(
        rate=underfitting_claim(trained),
        price=epoch_cost_claim(trained, epoch_seconds),
        sizes=sample_size_claim(networks, trained.plan, training_rows),
        coadaptation=coadaptation_claim(trained),
        variance_shift=variance_shift_claim(trained),
    )
