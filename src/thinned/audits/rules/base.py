"""The base class of all rules."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, NamedTuple

from torch import nn

from thinned.audits.findings import JSON, Finding, Severity
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.random_masks import Location
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.source_code import SourceCall, SourceClass, SourceFile, SourceScope

__all__ = ["REGISTERED", "Repair", "Rule"]

REGISTERED: dict[str, "type[Rule]"] = {}


class Repair(NamedTuple):
    """A repair that was made.

    Attributes:
        description: the change, in words.
        undo: takes the repair back if the model then fails; None for a repair after which no model can fail.
    """

    description: str
    undo: Callable[[], None] | None = None


class Rule:
    """One kind of mistake; the first line of a subclass's docstring is its title.

    The docstring of ``check`` completes the sentence "Found when: ..." in the documentation.

    Attributes:
        code: code by which findings are selected and ignored, such as ``TD101``.
        severities: severities that its findings can have, most severe first.
        why: reason why the mistake matters, without a full stop.
        source: paper, documentation or issue that says so.
        wrong: an example that the rule finds.
        right: code to write instead.
    """

    code: ClassVar[str]
    severities: ClassVar[tuple[Severity, ...]]
    why: ClassVar[str]
    source: ClassVar[str]
    wrong: ClassVar[str]
    right: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.code in REGISTERED:
            raise TypeError(f"{cls.code} is the code of {REGISTERED[cls.code].__name__}; got {cls.__name__} as well")
        REGISTERED[cls.code] = cls

    def check(self, observation: Observation) -> Iterator[Finding]:
        """Yield the findings in the recorded passes."""
        raise NotImplementedError

    def check_call(self, call: SourceCall) -> Iterator[Finding]:  # noqa: ARG002 - for subclasses
        """Yield the findings in a call that was read and not run."""
        return iter(())

    def check_class(self, source_class: SourceClass) -> Iterator[Finding]:  # noqa: ARG002
        """Yield the findings in a class that was read and not run."""
        return iter(())

    def check_file(self, source_file: SourceFile) -> Iterator[Finding]:  # noqa: ARG002
        """Yield the findings in a file that was read and not run."""
        return iter(())

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:  # noqa: ARG002
        """Repair the model in place where that is safe."""
        return None

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without its full stop."""
        return (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")

    def module_finding(
        self,
        severity: Severity,
        path: str,
        module: nn.Module | str,
        evidence: str,
        fix: str,
        location: Location | None = None,
        **data: JSON,
    ) -> Finding:
        """A finding about a module, given by itself or by the name of its class."""
        class_name = module if isinstance(module, str) else type(module).__name__
        return self._finding(severity, path, class_name, evidence, fix, location, data)

    def dropout_finding(
        self, severity: Severity, dropout: ObservedDropout, evidence: str, fix: str, **data: JSON
    ) -> Finding:
        """A finding about a call of dropout."""
        site = dropout.site
        facts: dict[str, JSON] = {"p": site.p, "shape": list(site.shape), "op": site.op, "site": site.name}
        if dropout.zero_fraction is not None:
            facts["zeros"] = round(dropout.zero_fraction, 4)
        class_name = type(dropout.module).__name__
        return self._finding(severity, dropout.path, class_name, evidence, fix, dropout.location, facts | data)

    def source_finding(self, scope: SourceScope, node: ast.expr, evidence: str, fix: str, **data: JSON) -> Finding:
        """A finding about code that was read and not run, with the highest severity of the rule."""
        class_name = scope.classes[-1] if scope.classes else "module"
        location = Location(scope.file, node.lineno)
        finding = self._finding(self.severities[0], scope.path, class_name, evidence, fix, location, data)
        return replace(finding, confirmed=False)

    def _finding(
        self,
        severity: Severity,
        path: str,
        class_name: str,
        evidence: str,
        fix: str,
        location: Location | None,
        data: dict[str, JSON],
    ) -> Finding:
        return Finding(
            code=self.code,
            severity=severity,
            title=self.title(),
            module=path,
            class_name=class_name,
            file=location.file if location else None,
            line=location.line if location else None,
            evidence=evidence,
            why=self.why,
            source=self.source,
            fix=fix,
            data=data,
        )
