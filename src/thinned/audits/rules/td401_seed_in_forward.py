"""TD401: a seed that the forward pass sets, so that every step draws the same mask."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["SeedInForward"]


class SeedInForward(Rule):
    """The same mask at every step."""

    code = "TD401"
    severities = ("error",)
    why = (
        "With the seed set in the forward pass, every step, and every data-parallel process, drops the same units: "
        "a smaller network is trained"
    )
    source = "Srivastava et al. 2014, section 4: a new mask for each training case; torch.manual_seed"
    wrong = "torch.manual_seed(0)  # in forward"
    right = "torch.manual_seed(0)  # once, before training; or thinned.address(model, seed=0)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """Before a dropout each of two forward passes set the seed of the generator to the same number."""
        fixed_seeds = observation.fixed_seeds
        seeded = [dropout for dropout in observation.training if dropout.drops and dropout.index in fixed_seeds]
        for dropout, _ in first_at_each_line(seeded):
            evidence = f"{describe(dropout)} draws its mask after the forward pass called torch.manual_seed"
            fix = "remove torch.manual_seed from forward; thinned.address(model, seed=0) repeats a run"
            yield self.dropout_finding("error", dropout, evidence, fix)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A ``forward`` calls torch.manual_seed."""
        if call.name == "torch.manual_seed" and call.scope.in_forward:
            evidence, fix = "forward calls torch.manual_seed", "call it once, before training"
            yield self.source_finding(call.scope, call.node, evidence, fix)
