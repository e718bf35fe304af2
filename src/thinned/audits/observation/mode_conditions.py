"""Conditions in source code that tell, or depend on, whether a module trains."""

import ast

__all__ = ["depends_on_training", "is_training", "training_implied"]

_RATE_NAMES = {"p", "dropout", "dropout_p", "dropout_prob", "dropout_rate", "drop_prob", "drop_rate", "rate"}


def training_implied(test: ast.expr, holds: bool) -> bool | None:
    """The value that ``training`` must have where a test holds, or fails; None where the test does not say."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return training_implied(test.operand, not holds)
    if isinstance(test, ast.BoolOp):
        modes = [training_implied(value, holds) for value in test.values]
        if isinstance(test.op, ast.And) is holds:  # all parts hold, or all fail: one that says something is enough
            return next((mode for mode in modes if mode is not None), None)
        parts = zip(modes, test.values, strict=True)
        if isinstance(test.op, ast.Or) and True in modes and all(mode or _is_flag(part) for mode, part in parts):
            return True  # in training, or where the author asks for it, as "self.training or self.monte_carlo" does
        return modes[0] if len(set(modes)) == 1 else None
    return holds if is_training(test) else None


def _is_flag(node: ast.expr) -> bool:
    """True for a name or attribute that is not the name of a rate."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
    return name is not None and name not in _RATE_NAMES


def is_training(node: ast.AST) -> bool:
    """True for ``training`` and for an attribute of that name."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
    return name == "training"


def depends_on_training(node: ast.expr, values: dict[str, list[ast.expr]]) -> bool:
    """True if an expression depends on the mode, by itself or through the values of its local names."""
    for part in ast.walk(node):
        if is_training(part):
            return True
        if isinstance(part, ast.Name) and any(depends_on_training(value, {}) for value in values.get(part.id, [])):
            return True
    return False
