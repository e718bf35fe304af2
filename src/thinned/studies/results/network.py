"""The network that a study of a network of one's own leaves, as ``results.json`` holds it."""

from thinned.studies.results.entries import Entry, PositiveCount

__all__ = ["NetworkSummary"]


class NetworkSummary(Entry, frozen=True, kw_only=True):
    """The recommended network, trained on all examples: the lines of code that build it again, or why there is none.

    ``epochs`` is the median best epoch of its setting, for which it was trained; None where a function of the user's
    trained it on ``examples``, and the others validated.
    """

    label: str
    epochs: PositiveCount | None
    examples: PositiveCount
    lines: str | None
    failure: str | None
