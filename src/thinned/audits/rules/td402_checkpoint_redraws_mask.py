"""TD402: activation checkpointing that draws another mask in the backward pass."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall, constant
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["CheckpointRedrawsMask"]

_FIX = "checkpoint(..., preserve_rng_state=True), which is the default"


class CheckpointRedrawsMask(Rule):
    """Checkpointing that draws another mask."""

    code = "TD402"
    severities = ("error",)
    why = "The backward pass recomputes the block with another mask, and the gradients are silently wrong"
    source = "torch.utils.checkpoint, argument preserve_rng_state"
    wrong = "checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)"
    right = "checkpoint(block, x, use_reentrant=False)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout ran within activation checkpointing that does not keep the random state."""
        redrawn = [
            dropout
            for dropout in observation.training
            if dropout.drops and dropout.checkpoint_keeps_random_state is False
        ]
        for dropout, _ in first_at_each_line(redrawn):
            evidence = f"{describe(dropout)} runs in a checkpointed block with preserve_rng_state=False"
            yield self.dropout_finding("error", dropout, evidence, _FIX)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """Checkpointing is called with preserve_rng_state=False."""
        keeps_state = constant(call.argument("preserve_rng_state"))
        if call.name == "torch.utils.checkpoint.checkpoint" and keeps_state is False:
            evidence = "checkpoint is called with preserve_rng_state=False; if the block drops, its masks change"
            yield self.source_finding(call.scope, call.node, evidence, _FIX)
