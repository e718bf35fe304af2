"""A network as an ONNX file, checked against onnxruntime; ``pip install 'thinned[onnx]'``."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from thinned.errors import InputError, sentence
from thinned.studies.model.metadata import ModelMetadata

__all__ = ["Average", "write_onnx"]

_NEEDED = ("onnx", "onnxruntime", "onnxscript")
# of the largest output: float32 rounds a sum of 65,536 products, the widest layer, by some 256 units of 6e-8
_TOLERANCE = 1e-4


class Average(nn.Module):
    """What is exported: the members' mean prediction as one module; :func:`metrics.predictions` in torch."""

    def __init__(self, base: nn.Module, metadata: ModelMetadata) -> None:
        super().__init__()
        self.base, self.metadata = base, metadata

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """``(rows, columns)`` to ``(rows, classes)`` probabilities, or ``(rows,)`` values."""
        metadata = self.metadata
        output: torch.Tensor = self.base(rows.expand(metadata.members, -1, -1))
        if metadata.task == "regression":
            return output[..., 0].mean(0) * metadata.spread + metadata.center
        if metadata.task == "multiclass":
            return output.softmax(-1).mean(0)
        positive = output.sigmoid().mean(0)
        return torch.cat([1 - positive, positive], dim=-1)


def write_onnx(
    path: str | os.PathLike[str],
    network: nn.Module,
    rows: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float64],
    *,
    output: str,
    metadata: Mapping[str, str],
) -> float:
    """Write ``network`` as one ONNX file with an input ``rows``, if onnxruntime computes what it should.

    Args:
        path: file to write; must not exist.
        network: takes ``(rows, columns)`` float32, any number of rows; in evaluation mode.
        rows: at least two rows to check by.
        expected: the output for them.
        output: the output's name.
        metadata: kept in the file.

    Returns:
        The largest absolute difference between onnxruntime's output and ``expected``.

    Raises:
        ImportError: the ``onnx`` extra is not installed.
        InputError: the file exists or can't be written.
        RuntimeError: the outputs differ.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(f"ONNX export needs the onnx extra; {missing[0]} not found; pip install 'thinned[onnx]'")
    import onnxruntime  # noqa: PLC0415 - an extra

    target = Path(path)
    if target.exists():
        raise InputError(sentence("the output must not exist yet", f"{target} does", "choose another name"))
    with _quiet():
        program = torch.onnx.export(
            network,
            (torch.from_numpy(rows),),
            dynamo=True,
            input_names=["rows"],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("number")},),
            verbose=False,
        )
    assert program is not None  # noqa: S101 (for the type checker: it is None where dynamo is False)
    program.model.metadata_props.update(metadata)
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [session.run([output], {"rows": part})[0] for part in (rows, rows[:1])]  # any number of rows
    difference = max(float(np.abs(part - expected[: len(part)]).max()) for part in parts)
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise RuntimeError(f"onnxruntime must compute what the network does; the outputs differ by {difference:.2g}")
    _write_whole(target, content)
    return difference


def _write_whole(target: Path, content: bytes) -> None:
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(content)
        partial.rename(target)
    except OSError as error:
        raise InputError(sentence("the output must be writable", f"got: {error}", "choose another place")) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own deprecations, and of libraries that no network here needs."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
