"""The weights that a cohort in training keeps: those of each member's best epoch, and of its last."""

from collections.abc import Mapping

import torch

__all__ = ["KeptWeights"]


class KeptWeights:
    """The weights of each member at its epoch of least validation loss, and at the last one before its patience ends.

    A member whose patience has ended is computed on with the others, and none of that is kept.

    Args:
        learned: parameters and running statistics by name, with a leading axis of members; restored in place.
        members: number of members.
        patience: a member's training ends after so many epochs without a lower validation loss; None ends it never.

    Attributes:
        best_epochs: 0-based number of the epoch of least validation loss, ``(members,)``.
        epochs: number of epochs until patience ended, ``(members,)``.
    """

    def __init__(self, learned: Mapping[str, torch.Tensor], members: int, patience: int | None) -> None:
        self._learned, self._patience = learned, patience
        self._best = {name: value.detach().clone() for name, value in learned.items()}
        self._last = {} if patience is None else {name: value.clone() for name, value in self._best.items()}
        self._losses = torch.full((members,), torch.inf)
        self._over = torch.zeros(members, dtype=torch.bool)
        self.best_epochs = torch.zeros(members, dtype=torch.int64)
        self.epochs = torch.zeros(members, dtype=torch.int64)

    @property
    def all_over(self) -> bool:
        """Whether the patience of every member has ended."""
        return bool(self._over.all())

    def update(self, epoch: int, validation_loss: torch.Tensor) -> None:
        """Keep the present weights of the members whose patience has not ended, where they are the best so far."""
        self.epochs[~self._over] = epoch + 1
        improved = ~self._over & (validation_loss < self._losses)
        self._losses = torch.where(improved, validation_loss, self._losses)
        self.best_epochs[improved] = epoch
        self._keep(self._best, improved)
        if self._patience is not None:
            self._keep(self._last, ~self._over)
            self._over |= epoch - self.best_epochs >= self._patience

    def _keep(self, weights: Mapping[str, torch.Tensor], members: torch.Tensor) -> None:
        for name, value in self._learned.items():
            weights[name][members] = value.detach()[members]

    @torch.no_grad()
    def restore_best(self) -> None:
        """Go back to the weights of the best epochs."""
        for name, value in self._best.items():
            self._learned[name].copy_(value)

    @torch.no_grad()
    def restore_last(self) -> None:
        """Go back to the weights at the end of each member's patience."""
        for name, value in self._last.items():
            self._learned[name].copy_(value)

    def best(self, member: int) -> dict[str, torch.Tensor]:
        """A copy of one member's weights at its best epoch, by qualified name."""
        return {name: value[member].clone() for name, value in self._best.items()}
