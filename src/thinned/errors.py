"""Validation, and the one form of error message: requirement, value seen, remedy."""

__all__ = ["InputError", "check_p", "sentence"]


class InputError(ValueError):
    """A file, table or folder that was handed over can't be used; the command line exits with 2."""


def sentence(requirement: str, seen: str, remedy: str = "") -> str:
    """Join the parts of an error message into the one form that all of ours have."""
    return "; ".join(part for part in (requirement, seen, remedy) if part)


def check_p(p: float) -> float:
    """Return ``p`` as a float.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: ``p`` lies outside [0, 1] or is NaN (the type that ``torch.nn.functional.dropout`` raises).
    """
    try:
        value = float(p)
    except (TypeError, ValueError):
        raise TypeError(sentence("p must be a number in [0, 1]", f"got p={p!r}")) from None
    if not 0.0 <= value <= 1.0:  # false for NaN, too; torch.compile can't trace math.isnan of a dynamic float
        raise ValueError(sentence("p must lie in [0, 1]", f"got p={p!r}"))
    return value
