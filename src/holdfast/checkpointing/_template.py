"""Name templates: plain `{field}` placeholders with an optional format spec, and nothing that could surprise.

`str.format` would also follow attributes and indexes, take fields by position and nest them in specs.
All of that is refused here, before a run begins, so that filling a template can only put values into text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

from ..errors import UsageError

_MAX_WIDTH = 200  # no valid name is longer, and a slip such as {epoch:04000000000d} must not eat the memory
_NUMBER = re.compile(r"\d+")  # of any script: str.format reads them all


def fields(template: str) -> frozenset[str]:
    """The names of the placeholders of `template`.

    Raises:
        UsageError: it is not a string, braces are unbalanced, or a placeholder is more than a name with
            an optional conversion (`!r`, `!s`, `!a`) and format spec.
    """
    if not isinstance(template, str):
        raise UsageError(f"name_template must be a string, not {template!r}.")
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as err:
        raise UsageError(f"name_template {template!r} is malformed: {err}.") from err
    for _, name, spec, conversion in parts:
        _check_field(template, str(name), spec or "", conversion)
    return frozenset(str(name) for _, name, _, _ in parts)


def check_placeholders(template: str, allowed: frozenset[str], context_name: str) -> None:
    """Refuse a template that is malformed or asks for more than `allowed`."""
    invalid = fields(template) - allowed
    if invalid:
        raise UsageError(
            f"Invalid placeholder(s) in name_template for {context_name}: "
            f"{sorted(invalid)}. Allowed: {sorted(allowed)}."
        )


def fill(template: str, values: Mapping[str, object]) -> str:
    """`template` with its placeholders filled in; values that it does not ask for are ignored.

    Raises:
        KeyError: a value is missing; it names which.
        UsageError: the template is malformed, or a format spec does not fit its value.
    """
    missing = sorted(fields(template) - values.keys())
    if missing:
        raise KeyError(f"name_template {template!r} needs a value for {', '.join(missing)}")
    try:
        return template.format_map(values)
    except (ValueError, TypeError) as err:
        raise UsageError(
            f"name_template {template!r} does not fit the values {dict(values)}: {err}."
        ) from err


def _check_field(template: str, name: str, spec: str, conversion: str | None) -> None:
    why = None
    if name == "" or name.isdigit():
        why = "is positional; placeholders have names"
    elif not name.isidentifier():
        why = "is not a plain name; attributes and indexes are not supported"
    elif "{" in spec or "}" in spec:
        why = "has a placeholder inside its format spec"
    elif any(len(number) > 3 or int(number) > _MAX_WIDTH for number in _NUMBER.findall(spec)):
        why = f"is wider than the {_MAX_WIDTH} bytes that a name may have"
    elif conversion not in (None, "r", "s", "a"):
        why = f"has an unknown conversion !{conversion}"
    if why:
        raise UsageError(f"name_template {template!r}: the placeholder {{{name}}} {why}.")
