"""Faster interpretation: each addition would check an overflow that nothing reports."""

import dataclasses

try:
    from triton.runtime import interpreter
except ImportError:
    pass
else:
    builder = interpreter.interpreter_builder
    if hasattr(builder.options, "sanitize_overflow"):
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
