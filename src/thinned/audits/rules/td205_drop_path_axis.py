"""TD205: stochastic depth along the wrong axis."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.modules import rate_of
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule

__all__ = ["DropPathAxis"]


class DropPathAxis(Rule):
    """Stochastic depth that does not drop whole samples."""

    code = "TD205"
    severities = ("warning",)
    why = (
        "Stochastic depth skips a block for a whole sample; along another axis it removes parts of every sample, "
        "or one time step of all"
    )
    source = "Huang et al. 2016"
    wrong = "mask = torch.rand(1, x.shape[1], 1) >= p"
    right = "mask = torch.rand(x.shape[0], 1, 1) >= p  # thinned.DropPath(p)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The decisions of a drop-path module differ along an axis other than 0, or axis 0 is not the batch."""
        batch_size = observation.batch_size
        for path, shape in observation.drop_path_shapes.items():
            module, p = observation.modules[path], rate_of(observation.modules[path])
            wrong_axes = observation.drop_path_axes.get(path, set()) - {0}
            moved_by_length = bool(batch_size and batch_size > 1 and shape[0] % batch_size and batch_size in shape[1:])
            batch_moved = observation.drop_path_batch_axes.get(path, int(moved_by_length)) != 0
            if not p or not (wrong_axes or batch_moved):
                continue
            problem = (
                f"decisions differ along axis {min(wrong_axes)}"
                if wrong_axes
                else "it drops along axis 0, and the batch is another axis"
            )
            evidence = f"{type(module).__name__} with p={p:g} on {shape}: {problem}"
            fix = f"thinned.DropPath({p:g})" + ("" if wrong_axes else "  # on a batch-first tensor")
            yield self.module_finding(
                "warning", path, module, evidence, fix, p=p, shape=list(shape), axes=sorted(wrong_axes)
            )
