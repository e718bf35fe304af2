"""The rules: each a class, whose docstring is its title and whose ``check`` looks at one observation."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.passes import Observation
from thinned.audits.observation.recorder import Location, Seen
from thinned.tracing import sites

__all__ = ["Rule", "call_of", "first_of_each"]


class Rule:
    """One kind of mistake.

    Attributes:
        code: what findings are selected and ignored by.
        severities: that its findings can have.
        why: why it matters, one sentence.
        source: who says so.
        wrong: an example that it finds.
        right: what to write instead.
    """

    code: ClassVar[str]
    severities: ClassVar[tuple[Severity, ...]]
    why: ClassVar[str]
    source: ClassVar[str]
    wrong: ClassVar[str]
    right: ClassVar[str]

    def check(self, seen: Observation) -> Iterator[Finding]:
        """Yield what is found."""
        raise NotImplementedError

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without its full stop."""
        return (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")

    def finding(
        self,
        severity: Severity,
        path: str,
        module: nn.Module | str,
        text: str,
        fix: str,
        *,
        location: Location | None = None,
        confirmed: bool = True,
        **data: Any,
    ) -> Finding:
        """A finding of this rule."""
        return Finding(
            code=self.code,
            severity=severity,
            title=self.title(),
            module=path,
            cls=module if isinstance(module, str) else type(module).__name__,
            file=location.file if location else None,
            line=location.line if location else None,
            seen=text,
            why=self.why,
            source=self.source,
            fix=fix,
            data=data,
            confirmed=confirmed,
        )

    def at(self, severity: Severity, what: Seen, text: str, fix: str, **data: Any) -> Finding:
        """A finding of this rule about a dropout that was seen."""
        known: dict[str, Any] = {
            "p": what.site.p,
            "shape": list(what.site.shape),
            "op": what.site.op,
            "site": what.site.name,
        }
        if what.zeros is not None:
            known["zeros"] = round(what.zeros, 4)
        return self.finding(severity, what.path, what.module, text, fix, location=what.location, **(known | data))


def call_of(what: Seen) -> str:
    """A dropout as a reader knows it: its function or class, p and shape, and its measured zeros."""
    zeros = "" if what.zeros is None else f" (output {what.zeros:.0%} zero)"
    return f"{what.site.op} with p={what.site.p:g} on {tuple(what.site.shape)}{zeros}"


def first_of_each(seen: list[Seen]) -> Iterator[tuple[Seen, int]]:
    """The first dropout of each module and line, and how many there are; a loop calls the same line many times."""
    groups: dict[Any, list[Seen]] = defaultdict(list)
    for what in seen:
        groups[what.path, what.site.op, what.location].append(what)
    for group in groups.values():
        yield group[0], len(group)


def is_elementwise(what: Seen) -> bool:
    """Whether each element has its own decision."""
    return what.site.op in {"Dropout", "dropout", "dropout_", "AlphaDropout", "alpha_dropout"} and (
        what.site.kind != "attention"
    )


def dimensions_of(what: Seen) -> int | None:
    """The number of spatial dimensions in the name of a dropout: 2 for Dropout2d."""
    name = what.site.op
    return int(name[-2]) if name.lower() in {"dropout1d", "dropout2d", "dropout3d"} else None


def is_dropout_module(module: nn.Module) -> bool:
    """Whether a module is a dropout of torch's or ours."""
    return isinstance(module, sites.TORCH_DROPOUTS) or sites.is_thinned(module)
