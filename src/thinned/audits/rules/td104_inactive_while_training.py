"""TD104: a dropout module in evaluation mode while the model trains."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.modules import rate_of
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule

__all__ = ["InactiveWhileTraining"]


class InactiveWhileTraining(Rule):
    """Dropout in evaluation mode while the model trains."""

    code = "TD104"
    severities = ("warning",)
    why = "The dropout is configured and never drops, so the model trains without the regularisation that you chose"
    source = "Lightning issue 20105; torch.nn.Module.train"
    wrong = "model.train()\nmodel.encoder.eval()  # though its parameters are trained"
    right = "model.train()"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout module is in evaluation mode though the model trains, and belongs to no frozen part."""
        for path in observation.inactive_modules:
            module, p = observation.modules[path], rate_of(observation.modules[path])
            evidence = f"{type(module).__name__} with p={p:g} is in evaluation mode while the model trains"
            yield self.module_finding("warning", path, module, evidence, "model.train()  # before training", p=p)
