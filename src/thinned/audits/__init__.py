"""The audit: dropout mistakes of a model, each with its fix."""

from thinned.audits.api import RULES, audit
from thinned.audits.findings import Audit, Finding
from thinned.audits.integrations import lightning_callback, trainer_callback
from thinned.audits.rules import Rule

__all__ = ["RULES", "Audit", "Finding", "Rule", "audit", "lightning_callback", "trainer_callback"]
