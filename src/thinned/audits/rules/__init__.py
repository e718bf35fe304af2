"""One rule a file, named ``td<number>_<name>.py``; a new file is found by itself."""

import importlib
import pkgutil

from thinned.audits.rules.base import REGISTERED, Repair, Rule

__all__ = ["RULES", "Repair", "Rule"]

for _module in pkgutil.iter_modules(__path__):
    if _module.name.startswith("td"):
        importlib.import_module(f"{__name__}.{_module.name}")

#: every rule, by code
RULES: dict[str, type[Rule]] = dict(sorted(REGISTERED.items()))
