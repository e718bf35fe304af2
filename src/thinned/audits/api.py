"""``thinned.audit``: run a model, apply the rules, and report what was selected."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import nn

from thinned.audits.finding_filter import FindingFilter
from thinned.audits.findings import SEVERITIES, Audit, Finding
from thinned.audits.fixing import repair_model
from thinned.audits.observation.class_source import ClassSources
from thinned.audits.observation.observation import Observation, observe
from thinned.audits.rules import RULES
from thinned.errors import sentence
from thinned.tracing.forward_arguments import forward_arguments
from thinned.tracing.modules import named

__all__ = ["Examination", "audit", "examine"]


def audit(
    model: nn.Module,
    args: object,
    kwargs: Mapping[str, object] | None = None,
    *,
    fix: bool = False,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rows: int | None = None,
) -> Audit:
    """Find the dropout mistakes of a model, each with its fix.

    The model runs as ``model(*args, **kwargs)``: once in training mode, twice in evaluation mode, and where a batch
    norm comes after a dropout, once more without dropout. Afterwards parameters, buffers, training flags, hooks,
    attributes of modules and all random generators are bitwise what they were, also when a pass raises or is
    interrupted. (What a forward pass changes in place within an attribute, such as a list, stays changed.) The inputs
    are copied. On meta tensors everything works except measurements.

    A comment ``# thinned: ignore`` or ``# thinned: ignore[TD101]`` silences the findings on its line.

    Other models may run in other threads. Several audits take turns. An audit seeds the default generators and puts
    them back, so a thread that draws from them meanwhile draws other numbers than alone; an addressed model does not.

    Args:
        model: any module.
        args: positional arguments of its forward, as a tuple. A tensor, or any other single object, stands for a
            tuple of one; a mapping, such as a batch of a tokenizer, stands for keyword arguments. Give at least two
            samples, so that batch norm can run.
        kwargs: keyword arguments of its forward.
        fix: repair in place what can be repaired safely, audit again, and list the repairs in ``fixed``: dropout
            functions are switched off in evaluation, element-wise or wrongly dimensioned dropout on convolutional
            features becomes the spatial variant, and dropout modules are removed that never ran and that no source of
            the model reads.
        select: codes, or beginnings of codes such as ``TD1``; only these are reported.
        ignore: codes, or beginnings of codes, that are not reported; ``"encoder.*:TD101"`` for some modules only.
        rows: number of training rows, for the rule on small data.

    Returns:
        The findings, most severe first.

    Raises:
        TypeError: ``model`` is not a module, or ``kwargs`` is not a mapping.
        InputError: a code does not exist.
        Exception: whatever the forward pass raises.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.9), torch.nn.Linear(3, 2))
        >>> [finding] = thinned.audit(model, torch.ones(8, 4))
        >>> finding.code, finding.severity, finding.module, finding.fix
        ('TD304', 'warning', '1', 'p=0.1, if 0.9 was meant to be kept')
    """
    forward_args, forward_kwargs = forward_arguments(args, kwargs, "thinned.audit")
    finding_filter = FindingFilter(select, ignore)
    run = partial(examine, model, forward_args, forward_kwargs, finding_filter=finding_filter, rows=rows)
    result, observation = run()
    if not fix:
        return result
    fixed = repair_model(result.findings, observation, run)
    return replace(run().audit, fixed=fixed)


class Examination(NamedTuple):
    """The result of an audit, and the observation that it rests on."""

    audit: Audit
    observation: Observation


def examine(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    finding_filter: FindingFilter | None = None,
    rows: int | None = None,
    modes: Mapping[str, bool] | None = None,
) -> Examination:
    """Audit a model, as :func:`audit` does, and return the observation, too.

    Args:
        model: any module.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.
        finding_filter: decides which findings are reported; by default all.
        rows: number of training rows.
        modes: training flags to judge, by module name; by default the present ones.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    finding_filter = finding_filter or FindingFilter()
    modes = {name: module.training for name, module in named(model)} if modes is None else modes
    observation = observe(model, args, kwargs, rows=rows, modes=modes)
    sources = ClassSources()
    found = (finding for rule in RULES.values() for finding in rule().check(observation))
    findings = [_defined(finding, observation, sources) for finding in found]
    reported = [finding for finding in findings if finding_filter.accepts(finding)]
    reported.sort(key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))
    n_suppressed = len(findings) - len(reported)
    audit = Audit(type(model).__name__, tuple(reported), (), n_suppressed, len(observation.training))
    return Examination(audit, observation)


def _defined(finding: Finding, observation: Observation, sources: ClassSources) -> Finding:
    """The finding with the line that defines its module, which stands for the call's where that is not known."""
    line = sources.definition_line(finding.module, observation.modules)
    if line is None:
        return finding
    finding = replace(finding, definition_file=line.file, definition_line=line.line)
    return finding if finding.file is not None else replace(finding, file=line.file, line=line.line)
