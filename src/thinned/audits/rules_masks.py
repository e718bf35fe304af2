"""TD4xx: masks that repeat, or that change where they must not."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.passes import Observation
from thinned.audits.rules import Rule, call_of, first_of_each

__all__ = ["CheckpointedMasks", "SeedReset"]


class SeedReset(Rule):
    """The same mask at every step."""

    code = "TD401"
    severities = ("error",)
    why = (
        "With the seed set in the forward pass, every step, and every data-parallel process, drops the same "
        "units: a smaller network is trained"
    )
    source = "Srivastava et al. 2014, section 4: a new mask for each training case; torch.manual_seed"
    wrong = "torch.manual_seed(0)  # in forward"
    right = "torch.manual_seed(0)  # once, before training; or thinned.address(model, seed=0)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """When a dropout was called, the generator's seed was not the one that the pass began with."""
        for what, _ in first_of_each([what for what in seen.train if what.drops and what.reset]):
            text = f"{call_of(what)} draws its mask after torch.manual_seed was called in the forward pass"
            yield self.at(
                "error",
                what,
                text,
                "remove torch.manual_seed from forward; thinned.address(model, seed=0) repeats a run",
            )


class CheckpointedMasks(Rule):
    """Checkpointing that draws another mask."""

    code = "TD402"
    severities = ("error",)
    why = (
        "The backward pass recomputes the block with another mask than the forward pass had, and its "
        "gradients are silently wrong"
    )
    source = "torch.utils.checkpoint, argument preserve_rng_state"
    wrong = "checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)"
    right = "checkpoint(block, x, use_reentrant=False)"

    def check(self, seen: Observation) -> Iterator[Finding]:
        """A dropout ran within activation checkpointing that does not keep the random state."""
        for what, _ in first_of_each([what for what in seen.train if what.drops and what.preserved is False]):
            text = f"{call_of(what)} runs in a checkpointed block with preserve_rng_state=False"
            yield self.at("error", what, text, "checkpoint(..., preserve_rng_state=True), which is the default")
