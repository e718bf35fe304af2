"""What ``thinned audit`` does: run the model, read the source, and write the result."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.text import Text

from thinned import __version__
from thinned.audits import Audit, Finding
from thinned.audits.api import examine
from thinned.audits.finding_filter import FindingFilter
from thinned.audits.findings import at_least, paragraph, similar_findings
from thinned.audits.output.html import to_html
from thinned.audits.output.json import to_json
from thinned.audits.output.sarif import to_sarif
from thinned.audits.source import audit_source
from thinned.errors import InputError, sentence
from thinned.import_path import import_object
from thinned_cli.audit_inputs import ForwardInputs, build_model, inputs_of_shapes, read_inputs

__all__ = ["AuditRequest", "run_audit"]

_Format = Literal["rich", "json", "sarif", "html"]

_WIDTH = 100  # of a paragraph, at most
_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}


class AuditRequest(NamedTuple):
    """The options of ``thinned audit`` that say what is audited."""

    model: str | None
    shapes: tuple[str, ...]
    input_file: Path | None
    source: Path | None
    select: list[str] | None
    ignore: list[str] | None
    rows: int | None
    meta: bool


def run_audit(
    request: AuditRequest, format_: _Format, out: Path | None, fail_on: Literal["error", "warning", "info", "never"]
) -> bool:
    """Write the result of an audit; true for findings that are at least as severe as ``fail_on``.

    Raises:
        InputError: the model, its inputs, the source, a code or the file of the result can't be used.
    """
    try:
        result = _audit(request)
        _write(result, format_, out)
    except OSError as error:
        raise InputError(str(error)) from error
    return fail_on != "never" and bool(result.with_severity(*at_least(fail_on)))


def _codes(options: list[str]) -> list[str]:
    """The codes in options such as ``TD1,TD2``."""
    return [code for option in options for code in option.split(",") if code.strip()]


def _audit(request: AuditRequest) -> Audit:
    """Run the model, or read the source, or both."""
    select = None if request.select is None else _codes(request.select)
    finding_filter = FindingFilter(select, _codes(request.ignore or []))
    from_source = None if request.source is None else _audit_source(request.source, finding_filter)
    if request.model is None:
        if from_source is None:
            raise InputError(sentence("an audit needs a model or --source", "got neither"))
        return from_source
    meta = request.meta
    inputs = read_inputs(request.input_file) if request.input_file is not None else ForwardInputs()
    model = build_model(request.model, meta=meta)
    shapes = inputs_of_shapes(list(request.shapes), meta=meta)
    args = (*shapes, *(_to_meta(value) if meta else value for value in inputs.args))
    kwargs = {name: _to_meta(value) if meta else value for name, value in inputs.kwargs.items()}
    try:
        result = examine(model, args, kwargs, finding_filter=finding_filter, rows=request.rows).audit
    except InputError:
        raise
    except Exception as error:
        fact, remedy = f"it raised {type(error).__name__}: {error}", "see --input and --input-file"
        raise InputError(sentence(f"{request.model} must run on the inputs", fact, remedy)) from error
    result = _with_file(result, request.model, from_source)
    return result if from_source is None else _merged(result, from_source)


def _with_file(result: Audit, import_path: str, from_source: Audit | None) -> Audit:
    """Give findings that have no line, as of an nn.Sequential, that of the factory, or the one that was read there."""
    factory = import_object(import_path, "the model")
    try:
        lines, line = inspect.getsourcelines(factory)  # type: ignore[arg-type]
        file = inspect.getsourcefile(factory)  # type: ignore[arg-type]
    except (TypeError, OSError):  # the model itself, or a callable without source
        lines, line, file = [], 1, sys.modules[import_path.partition(":")[0]].__file__
    if file is None:
        return result
    read = {f.code: f.line for f in from_source or () if f.file and Path(f.file).resolve() == Path(file).resolve()}

    def placed(finding: Finding) -> Finding:
        read_line = read.get(finding.code) or line
        is_inside = line <= read_line < line + len(lines)
        return replace(finding, file=file, line=read_line if is_inside else line)

    return replace(result, findings=tuple(finding if finding.file else placed(finding) for finding in result))


def _audit_source(source: Path, finding_filter: FindingFilter) -> Audit:
    findings = audit_source(source)
    reported = tuple(finding for finding in findings if finding_filter.accepts(finding))
    return Audit(str(source), reported, (), len(findings) - len(reported))


def _merged(result: Audit, from_source: Audit) -> Audit:
    """Findings of the passes, and those of the source that the passes did not confirm."""
    confirmed = {place for finding in result for place in _places(finding)}
    unconfirmed = tuple(finding for finding in from_source if not confirmed & _places(finding))
    suppressed = result.suppressed + from_source.suppressed
    return Audit(result.model, result.findings + unconfirmed, (), suppressed, result.sites)


def _places(finding: Finding) -> set[tuple[str, Path, int]]:
    """The code of a finding with each line that it concerns."""
    return {(finding.code, Path(file).resolve(), line) for file, line in finding.lines}


def _to_meta(value: object) -> object:
    move = getattr(value, "to", None)
    return move("meta") if callable(move) else value


def _write(result: Audit, format_: _Format, out: Path | None) -> None:
    if format_ == "rich":
        if out is None:
            console = Console()
            for line in _lines(result, min(console.width, _WIDTH) if console.is_terminal else _WIDTH):
                console.print(line, soft_wrap=True)
        else:
            out.write_text(f"{result}\n", "utf-8")
        return
    if format_ == "sarif":
        text = to_sarif(result, __version__)
    else:
        text = to_json(result) if format_ == "json" else to_html(result)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, "utf-8")


def _lines(result: Audit, width: int) -> Iterator[Text]:
    """The result for a terminal; a heading stays on one line, so that its file and line can be opened."""
    for finding, *others in result.groups():
        head = (f"{finding.code} {finding.severity}", _STYLES[finding.severity])
        yield Text.assemble(head, f"  {finding.location}  [{finding.class_name}]")
        yield Text(paragraph(f"{finding.message}.", width))
        yield Text(paragraph(f"source: {finding.source}", width), style="dim")
        yield Text.assemble("  fix: ", (finding.fix, "green"))
        if others:
            yield Text(paragraph(similar_findings(others), width))
    yield Text(f"{result.model}: {result.summary}")
