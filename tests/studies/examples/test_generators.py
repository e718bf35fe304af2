"""What a user's code draws follows from a key, and nobody notices that it was drawn."""

import random
import threading

import numpy as np
import pytest
import torch

from thinned.studies.examples.generators import seed_generators, seeded_generators


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002


def test_numbers_follow_from_the_key() -> None:
    with seeded_generators(2**63 + 5):
        one, two = draw(), draw()
        seed_generators(2**63 + 5)
        assert draw() == one
    with seeded_generators(7):
        assert draw() not in (one, two)
    assert len(set(one)) == 3


def test_generators_are_as_before_also_after_an_error() -> None:
    seed_generators(1)
    wanted = draw()
    seed_generators(1)
    with pytest.raises(ZeroDivisionError), seeded_generators(2), seeded_generators(3):
        draw()[0] / 0
    assert draw() == wanted


def test_threads_wait_for_each_other() -> None:
    found: list[list[tuple[float, float, float]]] = []

    def run() -> None:
        with seeded_generators(9):
            found.append([draw() for _ in range(200)])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(numbers == found[0] for numbers in found)
