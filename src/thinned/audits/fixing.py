"""Repair a model in place, where its findings' rules know a safe repair."""

from collections.abc import Callable, Iterable

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.rules import RULES

__all__ = ["repair_model"]


def repair_model(
    findings: Iterable[Finding], observation: Observation, run_model: Callable[[], object]
) -> tuple[str, ...]:
    """Apply the safe repairs of these findings.

    Args:
        findings: findings of an audit.
        observation: the observation of that audit.
        run_model: runs the model again; a repair after which it raises is undone.

    Returns:
        One sentence for each repair.
    """
    repairs = []
    for finding in findings:
        if finding.module not in observation.modules:
            continue
        repair = RULES[finding.code]().repair(finding, observation)
        if repair is None:
            continue
        if repair.undo is not None:
            try:
                run_model()
            except Exception:  # noqa: BLE001 - the user's forward may raise anything
                repair.undo()
                continue
        repairs.append(f"{finding.code} {finding.module or '(the model)'}: {repair.description}")
    return tuple(dict.fromkeys(repairs))
