"""docs/audit.md lists every rule, and is what the script would write."""

import importlib.util
from pathlib import Path

from thinned.audits import RULES

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "tools" / "audit.py"


def test_the_list_is_not_stale():
    spec = importlib.util.spec_from_file_location("docs_audit", SCRIPT)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = tool.PAGE.read_text("utf-8")
    assert text == tool.page(), "run python docs/tools/audit.py"
    assert all(f"### {code} " in text for code in RULES)
