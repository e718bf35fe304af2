"""A table is read once: columns, their kinds, and their encoding."""
