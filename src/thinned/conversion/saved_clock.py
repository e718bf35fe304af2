"""The clock in a folder of ``save_pretrained``, which ``from_pretrained`` of a plain model drops."""

import json
from pathlib import Path

from thinned.conversion.clock import CLOCK

__all__ = ["saved_clock"]


def saved_clock(folder: object) -> int | None:
    """The clock that the weights in ``folder`` hold; None where there is no such folder, file or clock."""
    if not isinstance(folder, str) or not folder or not Path(folder).is_dir():
        return None
    for path in sorted(Path(folder).glob("*.safetensors")):
        with path.open("rb") as file:  # 8 bytes: length of the header; the header, in JSON; the tensors
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            for name, entry in header.items():
                if name.rpartition(".")[2] == CLOCK and entry["dtype"] == "I64":
                    file.seek(8 + size + entry["data_offsets"][0])
                    return int.from_bytes(file.read(8), "little", signed=True)
    return None
