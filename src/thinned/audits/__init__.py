"""The audit: dropout mistakes of a model, each with its fix."""

from thinned.audits.api import audit
from thinned.audits.findings import Audit, Finding, Severity
from thinned.audits.integrations.lightning import lightning_callback
from thinned.audits.integrations.transformers import trainer_callback
from thinned.audits.rules import RULES, Rule

__all__ = ["RULES", "Audit", "Finding", "Rule", "Severity", "audit", "lightning_callback", "trainer_callback"]
