"""Build what the command line of ``thinned audit`` names: a model, and the inputs of its forward."""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from thinned.errors import InputError, sentence
from thinned.import_path import import_object, working_directory

__all__ = ["ForwardInputs", "build_model", "inputs_of_shapes", "read_inputs"]

_MOST_ELEMENTS = 2**31  # of an input
_SEED = 0


class ForwardInputs(NamedTuple):
    """Positional and keyword arguments of a forward."""

    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = {}  # noqa: RUF012 - never written to


def build_model(import_path: str, *, meta: bool = False) -> nn.Module:
    """The model at ``package.module:name``, which is a module or a function without arguments that returns one.

    The default generators are seeded before, so that each run audits the same weights.

    Raises:
        InputError: there is no such model, or building it raises.
    """
    model = import_object(import_path, "the model")
    if not isinstance(model, nn.Module) and callable(model):
        torch.manual_seed(_SEED)
        np.random.seed(_SEED)  # noqa: NPY002 - the global one, which the factory may use
        try:
            with working_directory(), torch.device("meta") if meta else contextlib.nullcontext():
                model = model()
        except Exception as error:
            requirement = f"{import_path} must build a model when called without arguments"
            raise InputError(sentence(requirement, f"it raised {type(error).__name__}: {error}")) from error
    if not isinstance(model, nn.Module):
        raise InputError(sentence(f"{import_path} must be or return a torch.nn.Module", f"got {type(model).__name__}"))
    return model.to("meta") if meta else model


def inputs_of_shapes(texts: list[str], *, meta: bool = False) -> tuple[torch.Tensor, ...]:
    """Random tensors for texts such as ``8,3,224,224`` and ``8,16:int64``; integers are 0 or 1.

    Raises:
        InputError: a text is not a shape.
    """
    return tuple(_input_of_shape(text, "meta" if meta else "cpu") for text in texts)


def _input_of_shape(text: str, device: str) -> torch.Tensor:
    shape_text, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    try:
        shape = [int(part) for part in shape_text.split(",")]
    except ValueError:
        shape = [-1]
    if min(shape) < 1 or np.prod(shape, dtype=float) > _MOST_ELEMENTS or not isinstance(dtype, torch.dtype):
        remedy = "give sizes separated by commas and maybe a dtype, as 8,3,224,224 or 8,16:int64"
        raise InputError(sentence("an input must be a shape of positive sizes", f"got {text!r}", remedy))
    generator = torch.Generator(device).manual_seed(_SEED) if device == "cpu" else None
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return torch.randint(2, shape, device=device, generator=generator).to(dtype)


def read_inputs(path: Path) -> ForwardInputs:
    """Arguments from a file: JSON (a list, or an object of keyword arguments), ``.npz`` or ``.pt`` (weights only).

    Nested lists of numbers in JSON become tensors; other values stay as they are.

    Raises:
        InputError: the file cannot be read, or is of another kind.
    """
    if path.suffix not in {".json", ".npz", ".pt"}:
        raise InputError(sentence("an input file must end in .json, .npz or .pt", f"got {path.name}"))
    try:
        content = _read(path)
    except (OSError, ValueError, RuntimeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(sentence(f"{path} must hold a model's inputs", f"{type(error).__name__}: {error}")) from None
    except Exception as error:
        # for a file that holds more than tensors torch.load raises an error of a module that this package never imports
        if type(error).__name__ != "UnpicklingError":
            raise
        requirement = f"{path} must hold tensors and plain values only"
        raise InputError(sentence(requirement, "it holds other objects")) from None
    if isinstance(content, dict):
        return ForwardInputs((), {str(name): value for name, value in content.items()})
    return ForwardInputs(tuple(content) if isinstance(content, list | tuple) else (content,), {})


def _read(path: Path) -> object:
    if path.suffix == ".json":
        content: object = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict):
            return {name: _as_tensor(value) for name, value in content.items()}
        return [_as_tensor(value) for value in content] if isinstance(content, list) else content
    if path.suffix == ".npz":
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    tensors: object = torch.load(path, weights_only=True, map_location="cpu")
    return tensors


def _as_tensor(value: object) -> object:
    return torch.tensor(value) if isinstance(value, list) else value
