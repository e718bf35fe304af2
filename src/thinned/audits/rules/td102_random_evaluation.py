"""TD102: evaluations that differ though no dropout function is active."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.random_masks import AppliedMask, Location
from thinned.audits.rules.base import Rule

__all__ = ["RandomEvaluation"]

_MASK_FUNCTIONS = {"bernoulli", "bernoulli_", "native_dropout"}
_MOVED_ZEROS = 0.002  # above this fraction of an output, a mask rather than rounding


class RandomEvaluation(Rule):
    """Two evaluations differ."""

    code = "TD102"
    severities = ("error", "warning", "info")
    why = "A mask that no dropout function draws (TorchScript, NumPy, a generator of its own) may ignore model.eval()"
    source = "Srivastava et al. 2014, section 10"
    wrong = "x = x * torch.bernoulli(torch.full_like(x, 0.5))"
    right = "if self.training:\n    x = x * torch.bernoulli(torch.full_like(x, 0.5))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """Two evaluations of one input differ, by a mask of the model's own or though no dropout was active."""
        groups: dict[tuple[str, Location | None], list[AppliedMask]] = {}
        for mask in observation.random_masks:
            groups.setdefault((mask.path, mask.location), []).append(mask)
        for (path, location), masks in groups.items():
            zeros = masks[0].zero_fraction
            evidence = f"a mask with {zeros:.0%} zeros is drawn anew in each evaluation and applied here"
            fix, module = "if self.training:  # around what draws the mask", observation.modules[path]
            data = {"zeros": round(zeros, 4), "calls": len(masks)}
            yield self.module_finding("error", path, module, evidence, fix, location, **data)
        difference = observation.difference
        if difference is None:
            return
        functions = {op.name for op in observation.noise}
        size = f" by up to {difference.largest:.3g}" if difference.largest else ""
        evidence = (
            f"two evaluations of one input differ{size}, first in this module's output; "
            f"random numbers come from {', '.join(sorted(functions)) or 'no function of torch'}"
        )
        is_mask = difference.moved_zeros > _MOVED_ZEROS
        if is_mask:
            evidence += f"; {difference.moved_zeros:.1%} of its output is 0 in one evaluation only, as under a mask"
        severity: Severity = "info" if functions else "warning"
        if is_mask or functions & _MASK_FUNCTIONS:
            severity = "error"
        yield self.module_finding(
            severity,
            difference.path,
            observation.modules.get(difference.path, difference.class_name),
            evidence,
            "if self.training:  # around what draws the mask",
            largest=difference.largest,
            moved_zeros=difference.moved_zeros,
            noise=sorted(functions),
        )
