"""The kernel of contiguous dropout as it is compiled for GPUs, without one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compiled_counts.py")


def tool():
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return path if path.exists() else None


@pytest.mark.skipif(tool() is None, reason="this Triton brings no compiler for NVIDIA's GPUs")
@pytest.mark.parametrize(("capability", "dtype"), [(80, "fp32"), (90, "fp16")])
def test_a_decision_is_cheap(capability, dtype, tmp_path):
    """At most 14 integer operations an element, no spill, and no bit that goes through shared memory."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), str(capability), dtype]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout)
    assert counts["integer"] <= 14
    assert counts["stack"] == counts["shared"] == 0
