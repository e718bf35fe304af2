"""What the command line is given as text: a model's place, and its inputs."""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thinned.errors import InputError, sentence
from thinned.import_path import find, working_directory

__all__ = ["build", "inputs", "read_inputs"]

_LARGEST = 2**31  # elements of an input


def build(place: str, *, meta: bool = False) -> nn.Module:
    """The model at ``package.module:name``, a module or a function without arguments that makes one.

    Raises:
        InputError: there is none, or making it raises.
    """
    found = find(place, "the model")
    if not isinstance(found, nn.Module) and callable(found):
        try:
            with working_directory(), torch.device("meta") if meta else contextlib.nullcontext():
                found = found()
        except Exception as error:
            seen = f"it raised {type(error).__name__}: {error}"
            raise InputError(sentence(f"{place} must make a model when called without arguments", seen)) from error
    if not isinstance(found, nn.Module):
        raise InputError(sentence(f"{place} must be or return a torch.nn.Module", f"got {type(found).__name__}"))
    return found.to("meta") if meta else found


def inputs(texts: list[str], *, meta: bool = False) -> tuple[torch.Tensor, ...]:
    """Random tensors of the shapes and dtypes in texts such as ``8,3,224,224`` and ``8,16:int64`` (zeros and ones).

    Raises:
        InputError: a text is not a shape.
    """
    return tuple(_input(text, "meta" if meta else "cpu") for text in texts)


def _input(text: str, device: str) -> torch.Tensor:
    shape_text, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    try:
        shape = [int(part) for part in shape_text.split(",")]
    except ValueError:
        shape = [-1]
    if min(shape) < 1 or np.prod(shape, dtype=float) > _LARGEST or not isinstance(dtype, torch.dtype):
        example = "give sizes separated by commas and maybe a dtype, as 8,3,224,224 or 8,16:int64"
        raise InputError(sentence("an input must be a shape of positive sizes", f"got {text!r}", example))
    generator = torch.Generator(device).manual_seed(0) if device == "cpu" else None
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return torch.randint(2, shape, device=device, generator=generator).to(dtype)


def read_inputs(path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments from a file: JSON (a list, or an object of keyword arguments), ``.npz`` or ``.pt`` (weights only).

    Nested lists of numbers in JSON become tensors, other values stay as they are.

    Raises:
        InputError: the file cannot be read, or is of another kind.
    """
    if path.suffix not in {".json", ".npz", ".pt"}:
        raise InputError(sentence("an input file must end in .json, .npz or .pt", f"got {path.name}"))
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text("utf-8"))
            found = {k: _tensor(v) for k, v in found.items()} if isinstance(found, dict) else list(map(_tensor, found))
        elif path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        else:
            found = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, ValueError, RuntimeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(sentence(f"{path} must hold a model's inputs", f"{type(error).__name__}: {error}")) from None
    except Exception as error:
        # what torch.load raises for a file that holds more than tensors is of a class it takes from elsewhere
        if type(error).__name__ != "UnpicklingError":
            raise
        raise InputError(
            sentence(f"{path} must hold tensors and plain values only", "it holds other objects")
        ) from None
    return (
        ((), found) if isinstance(found, dict) else (tuple(found) if isinstance(found, list | tuple) else (found,), {})
    )


def _tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, list) else value
