"""The limit of one core a job, in several threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from thinned.studies.cores import one_core


@pytest.fixture
def number() -> Iterator[int]:
    """Two threads, here and in threads to come; afterwards the number is as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def threads_to_come() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_a_thread_that_ended_before_others_changes_no_number_later(number: int) -> None:
    """Its own number stays 1, which its next job must not take for that of the process."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        jobs = one_core(), one_core()
        first.submit(jobs[0].__enter__).result()
        second.submit(jobs[1].__enter__).result()
        assert threads_to_come() == 1
        first.submit(jobs[0].__exit__, None, None, None).result()
        assert threads_to_come() == 1  # the second one still computes
        second.submit(jobs[1].__exit__, None, None, None).result()
        assert threads_to_come() == number
        with one_core():
            pass
        again = one_core()
        first.submit(again.__enter__).result()
        first.submit(again.__exit__, None, None, None).result()
        assert first.submit(torch.get_num_threads).result() == threads_to_come() == number
    assert torch.get_num_threads() == number


def test_a_number_of_the_users_is_kept(number: int) -> None:
    with one_core():
        with one_core():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads_to_come() == number
    torch.set_num_threads(3)
    with one_core():
        pass
    assert torch.get_num_threads() == threads_to_come() == 3
