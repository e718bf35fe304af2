"""Errors, the one form of their messages, and the check of a rate."""

__all__ = ["InputError", "check_p", "sentence"]


class InputError(ValueError):
    """The input can't be used: a file, table, folder or argument. The command line exits with code 2."""


def sentence(requirement: str, value: str, remedy: str = "") -> str:
    """Join the parts of an error message: ``requirement; value; remedy``."""
    return "; ".join(part for part in (requirement, value, remedy) if part)


def check_p(p: float) -> float:
    """Return ``p`` as a float.

    Args:
        p: probability of dropping.

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
