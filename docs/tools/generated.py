"""Write generated files, or check them with ``--check``."""

import sys
from pathlib import Path


def main(files: dict[Path, str], script: str) -> int:
    """Write the stale files; with ``--check`` name them instead, and return 1 if there are any."""
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path} is stale: run python docs/tools/{script}\n")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path], "utf-8")
    return 0
