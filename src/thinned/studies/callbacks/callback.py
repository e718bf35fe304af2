"""The interface of a callback, and a context in which callbacks are called."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thinned.studies.design.plan import Plan
from thinned.studies.progress_bar import ReportProgress
from thinned.studies.training.drive import Progress

if TYPE_CHECKING:
    from thinned.studies.api import Study

__all__ = ["StudyCallback", "open_callbacks"]


class StudyCallback:
    """A listener to a study: ``thinned.study(..., callbacks=[callback])``. Override what is needed.

    All methods are called in the process that called ``thinned.study``. An error that one of them raises ends the
    study; the networks that were trained are kept, and the same call resumes it.
    """

    def on_progress(self, progress: Progress, plan: Plan) -> None:
        """Take the state of a study, a few times a second: its task in words, and the number of trained networks."""

    def on_end(self, study: "Study") -> None:
        """Take the finished study, whose results, report and model are written."""

    def on_error(self, error: BaseException) -> None:
        """Take the error, or the interrupt, that ends the study."""


@contextmanager
def open_callbacks(callbacks: Sequence[StudyCallback], report: ReportProgress) -> Iterator[ReportProgress]:
    """A function that hands the state of a study to ``report`` and to all callbacks, which hear of errors as well."""

    def report_all(progress: Progress, plan: Plan) -> None:
        report(progress, plan)
        for callback in callbacks:
            callback.on_progress(progress, plan)

    try:
        yield report_all
    except BaseException as error:
        for callback in callbacks:
            callback.on_error(error)
        raise
