"""The stopwatch leaves out the time in which other programs had the core."""

import time
from pathlib import Path

import pytest

from thinned.studies.training import stopwatch
from thinned.studies.training.stopwatch import Stopwatch


def test_the_time_without_a_core_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    schedule, clock = tmp_path / "schedstat", iter([100.0, 110.0])
    monkeypatch.setattr(stopwatch, "_SCHEDULE", schedule)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    schedule.write_text("5000000000 2000000000 70\n")
    watch = Stopwatch()
    schedule.write_text("6000000000 9500000000 80\n")
    assert watch.seconds() == pytest.approx(2.5)  # of 10 seconds, the thread was without a core for 7.5


@pytest.mark.parametrize("text", [None, "", "1", "one two three"])
def test_a_system_that_does_not_count_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    schedule, clock = tmp_path / "schedstat", iter([100.0, 110.0])
    if text is not None:
        schedule.write_text(text)
    monkeypatch.setattr(stopwatch, "_SCHEDULE", schedule)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert Stopwatch().seconds() == pytest.approx(10)


def test_sleep_counts() -> None:
    watch = Stopwatch()
    time.sleep(0.05)
    assert watch.seconds() > 0.04
