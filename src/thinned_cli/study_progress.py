"""The progress of a study on the terminal; errors and Ctrl-C end it in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from thinned.studies import finished_networks
from thinned.studies.progress_bar import ReportProgress, progress_bar
from thinned_cli.console import exit_with_sentence, input_errors

__all__ = ["study_progress"]


@contextmanager
def study_progress(out: Path, doing: str) -> Iterator[ReportProgress]:
    """Show a bar while a study lasts; errors and Ctrl-C end it in one sentence.

    Args:
        out: the folder of the study.
        doing: the task at the start, in words.
    """
    try:
        with input_errors(), progress_bar(doing, Console(stderr=True)) as progress:
            yield progress
    except KeyboardInterrupt:
        text = f"Stopped. {out} holds {finished_networks(out)} finished networks; the same command continues there."
        raise exit_with_sentence(text, 130) from None
