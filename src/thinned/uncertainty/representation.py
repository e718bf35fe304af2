"""Short representations of results that hold tensors."""

import dataclasses

import numpy as np
import torch

from thinned.html_table import html_table

__all__ = ["ShortRepr", "describe_value", "short_repr"]

_ROWS = 8  # of a vector that a notebook shows


def short_repr(name: str, fields: dict[str, object]) -> str:
    """The name of a class with its fields; a tensor is its shape and dtype, or its number where it holds one."""
    return f"{name}({', '.join(f'{field}={describe_value(value)}' for field, value in fields.items())})"


def describe_value(value: object) -> str:
    """The shape and dtype of a tensor or array, or its number where it holds one; of anything else its ``repr``."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    if not isinstance(value, torch.Tensor):
        return repr(value)
    if value.ndim == 0:
        return f"{value.item():.4g}"
    return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"


class ShortRepr:
    """A mix-in for dataclasses with ``repr=False``: the fields that ``repr`` shows, without the elements of tensors."""

    def __repr__(self) -> str:
        """One line, however large the tensors are."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # a mix-in is no dataclass itself
        return short_repr(type(self).__name__, {f.name: getattr(self, f.name) for f in fields if f.repr})

    def _repr_html_(self) -> str:
        """The fields, as a notebook shows them, with the first elements of vectors and the range of all tensors."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        rows = [(name, describe_value(value), *_numbers(value)) for name, value in fields.items()]
        return html_table(type(self).__name__, ("", "value", "smallest", "largest", "first"), rows)


def _numbers(value: object) -> tuple[str, str, str]:
    """The smallest and the largest number of a tensor that has several, and the first ones of a vector."""
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or value.numel() == 0:
        return "", "", ""
    first = ", ".join(f"{number:.4g}" for number in value[:_ROWS].tolist()) if value.ndim == 1 else ""
    more = ", …" if first and len(value) > _ROWS else ""
    return f"{value.min().item():.4g}", f"{value.max().item():.4g}", f"{first}{more}"
