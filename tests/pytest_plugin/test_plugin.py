"""The plug-in of pytest, run by a pytest of its own."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import sys

def test_collected_without_torch():
    assert "torch" not in sys.modules

def test_sound(thinned_audit):
    import torch
    from torch import nn
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.2), nn.Linear(3, 2))
    assert thinned_audit(model, torch.ones(8, 4)).sites == 1

def test_mistaken(thinned_audit):
    import torch
    from torch import nn
    thinned_audit(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.Linear(3, 2)), torch.ones(8, 4))

def test_allowed(thinned_audit):
    import torch
    from torch import nn
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.Linear(3, 2))
    thinned_audit(model, torch.ones(8, 4), ignore=["TD304"])
    thinned_audit(model, torch.ones(8, 4), fail_on="error")
"""


def test_a_finding_fails_the_test_and_collection_needs_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "test_models.py"
    file.write_text(TESTS)
    # other plug-ins may import torch by themselves
    command = [
        sys.executable,
        "-c",
        "import os, sys; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'; import pytest;",
    ]
    command[-1] += "sys.exit(pytest.main(sys.argv[1:]))"
    result = subprocess.run(
        [*command, "-q", "-p", "thinned_pytest", "--rootdir", str(tmp_path), str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "1 failed, 3 passed" in result.stdout, result.stdout + result.stderr
    assert "TD304 warning" in result.stdout
    assert "fix: p=0.1" in result.stdout
