"""Tables: read, each column's reading decided once, and encoded."""

from thinned.studies.table.load import Table, load

__all__ = ["Table", "load"]
