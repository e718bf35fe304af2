"""The configuration of training: all that a network's weights follow from besides its data."""

import dataclasses

from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting

__all__ = ["TrainingConfig"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that a network's weights follow from besides its data.

    Attributes:
        task: "binary", "multiclass" or "regression".
        settings: ways to regularise; a member of a cohort names its own by the index here.
        hidden: widths of the hidden layers.
        epochs: training budget.
        batch_size: rows of a step.
        learning_rate: Adam's learning rate.
        seed: the number from which everything random follows.
        folds: number of test folds, by which members are numbered.
        repeats: number of repeats; the final model is a further one.
        patience: a network's training stops after so many epochs without a lower validation loss; None trains all.
    """

    task: str
    settings: tuple[Setting, ...]
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    folds: int = 5
    repeats: int = 2
    patience: int | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> "TrainingConfig":
        """The configuration of a study's networks."""
        return cls(
            task=plan.task,
            settings=plan.settings,
            hidden=plan.hidden,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            seed=plan.seed,
            folds=plan.folds,
            repeats=plan.seeds,
        )
