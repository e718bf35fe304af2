"""``audit``: run a model, apply the rules, leave out what is not wanted."""

import linecache
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import nn

from thinned.audits import rules_masks, rules_modes, rules_places, rules_rates
from thinned.audits.findings import SEVERITIES, Audit, Finding
from thinned.audits.fixing import repair
from thinned.audits.observation.passes import Observation, observe
from thinned.audits.rules import Rule
from thinned.errors import InputError, sentence
from thinned.tracing import sites

__all__ = ["RULES", "audit", "examine", "wanted"]

#: every rule, by code
RULES: dict[str, type[Rule]] = {
    rule.code: rule
    for module in (rules_modes, rules_places, rules_rates, rules_masks)
    for name in module.__all__
    if isinstance(rule := getattr(module, name), type) and issubclass(rule, Rule)
}
RULES = dict(sorted(RULES.items()))
_INLINE = re.compile(r"#.*\bthinned:\s*ignore(?:\[([\w\s,]*)\])?")


def audit(
    model: nn.Module,
    *args: Any,
    fix: bool = False,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rows: int | None = None,
    **kwargs: Any,
) -> Audit:
    """Find the dropout mistakes of a model, each with its fix.

    The model is run on ``(*args, **kwargs)``: once in training mode, twice in evaluation mode, and where a batch norm
    stands behind a dropout, once more without dropout. Afterwards parameters, buffers, training flags, hooks,
    attributes of modules and all random generators are bitwise what they were, also when a pass raises or is
    interrupted (what a forward pass changes in place within an attribute, such as a list, stays changed). The inputs
    are copied. On meta tensors everything works but what has to be measured.

    A line of source with ``# thinned: ignore`` or ``# thinned: ignore[TD101]`` silences the findings located there.

    Args:
        model: any module.
        args: an example input of its forward, of at least two samples, so that batch norm can run.
        fix: repair in place what can be repaired safely, run the audit again and say what was done in ``fixed``:
            dropout in evaluation is gated by the mode, element-wise or wrongly dimensioned dropout on convolutional
            features becomes the spatial variant, dropout modules that never ran are removed.
        select: codes, or beginnings of codes such as ``TD1``; only these are reported.
        ignore: codes, or beginnings of codes, which are not; ``"encoder.*:TD101"`` for modules of that name only.
        rows: number of training rows, for the rule on small data.
        kwargs: of the model's forward.

    Returns:
        The findings, gravest first.

    Raises:
        TypeError: ``model`` is not a module.
        InputError: a code does not exist.
        Exception: whatever the forward pass raises.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.9), torch.nn.Linear(3, 2))
        >>> [finding] = thinned.audit(model, torch.ones(8, 4))
        >>> finding.code, finding.severity, finding.module, finding.fix
        ('TD304', 'warning', '1', 'p=0.1, if 0.9 was meant to be kept')
    """
    # a second audit must find them again
    ignore, select = _listed(ignore), None if select is None else _listed(select)
    again = partial(examine, model, args, kwargs, select=select, ignore=ignore, rows=rows)
    result, seen = again()
    if not fix:
        return result
    done = repair(result.findings, seen, again)
    after, _ = again()
    return Audit(after.model, after.findings, tuple(done), after.suppressed, after.sites)


def examine(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rows: int | None = None,
    modes: Mapping[str, bool] | None = None,
) -> tuple[Audit, Observation]:
    """As :func:`audit`, with what was seen; ``modes`` are the training flags to judge, by default those of now."""
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    keep = wanted(select, ignore)
    modes = {name: module.training for name, module in sites.named(model)} if modes is None else modes
    seen = observe(model, args, kwargs, rows=rows, modes=modes)
    found = [finding for rule in RULES.values() for finding in rule().check(seen)]
    kept = sorted(filter(keep, found), key=lambda f: (SEVERITIES.index(f.severity), f.code))
    return Audit(type(model).__name__, tuple(kept), (), len(found) - len(kept), len(seen.train)), seen


class wanted:  # noqa: N801 - used as a function
    """Whether a finding is to be reported.

    Raises:
        InputError: a code does not exist.
    """

    def __init__(self, select: Iterable[str] | None, ignore: Iterable[str]) -> None:
        self.select = None if select is None else _codes(select)
        self.ignore = _codes(ignore)

    def __call__(self, finding: Finding) -> bool:
        """False for what was not selected, or is ignored here or in the source."""
        if self.select is not None and not any(_matches(entry, finding) for entry in self.select):
            return False
        return not any(_matches(entry, finding) for entry in self.ignore) and not _silenced(finding)


def _listed(entries: Iterable[str]) -> list[str]:
    return [entries] if isinstance(entries, str) else list(entries)


def _codes(entries: Iterable[str]) -> list[tuple[str, str]]:
    """(pattern of module names, beginning of codes) of each entry."""
    pairs = []
    for entry in _listed(entries):
        pattern, _, code = entry.strip().rpartition(":")
        if not code or not any(known.startswith(code.upper()) for known in RULES):
            requirement = "a code must be one of the rules', or the beginning of some"
            raise InputError(sentence(requirement, f"got {entry!r}", f"codes are {', '.join(RULES)}"))
        pairs.append((pattern or "*", code.upper()))
    return pairs


def _matches(entry: tuple[str, str], finding: Finding) -> bool:
    return finding.code.startswith(entry[1]) and fnmatchcase(finding.module, entry[0])


def _silenced(finding: Finding) -> bool:
    """Whether the line of source says that this finding is meant."""
    if finding.file is None or finding.line is None:
        return False
    found = _INLINE.search(linecache.getline(finding.file, finding.line))
    if found is None:
        return False
    return found[1] is None or finding.code in {code.strip().upper() for code in found[1].split(",")}
