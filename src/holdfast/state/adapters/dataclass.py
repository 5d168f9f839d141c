"""Plain dataclasses, field by field."""

ADAPTERS = ()
