"""One browser for all tests of pages, Hypothesis without deadlines, and Triton's interpreter where there is no GPU."""

import os
from collections.abc import Iterator

import pytest
import torch
from browser import CHROMIUM, Browser
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("untimed")

if not torch.cuda.is_available():
    # before anything imports Triton, which reads it as it defines functions; kernels then run in Python on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: the look of pages in a real browser is not checked")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
