"""One browser for all tests of pages."""

from collections.abc import Iterator

import pytest
from browser import CHROMIUM, Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: the look of pages in a real browser is not checked")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
