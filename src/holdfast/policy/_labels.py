"""What may stand as the name of a checkpoint or the label of a phase: one path component, safe on every system.

Names become directories that people copy between Linux, macOS and Windows, so what one of them cannot
hold, hides, or silently changes is refused on all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

from ..errors import UsageError

MAX_NAME_BYTES = 200  # leaves 55 of the usual 255 for the suffixes and ids that go around a name
SUFFIX = ".ckpt.mml"

_FORBIDDEN = re.compile("[/\\\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL
)
_RESERVED_LABELS = frozenset({"start", "end"})


def check_name(name: str) -> str:
    """`name` itself, if it can be the name of a checkpoint.

    Raises:
        UsageError: it is not one path component of at most 200 bytes (UTF-8), or begins with a dot, ends
            with a dot or space, holds `/`, `\\`, `:`, a control or a lone surrogate, or is a Windows device.
    """
    return _check("checkpoint name", name)


def check_label(label: str) -> str:
    """`label` itself, if a phase, group or experiment can be called so.

    Raises:
        UsageError: it could not be the name of a checkpoint; or it is START or END (in any case), the
            checkpoints of the experiment itself; or it ends as a bundle does (`.ckpt.mml`).
    """
    _check("label", label)
    if label.casefold() in _RESERVED_LABELS:
        raise UsageError(
            f"label {label!r} is reserved for the experiment's own checkpoints. Choose another one."
        )
    if label.casefold().endswith(SUFFIX):
        raise UsageError(
            f"label {label!r}: its directory would look like a checkpoint, because of {SUFFIX!r}."
        )
    return label


def _check(what: str, name: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"a {what} must be a string, not {name!r}.")
    if why := _flaw(name):
        raise UsageError(
            f"{what} {name!r} {why}. Use letters, digits, '_', '-' and '.' as in 'pretrain-lr0.01'."
        )
    return name


def _flaw(name: str) -> str | None:
    if not name:
        return "is empty"
    if found := _FORBIDDEN.search(name):
        return f"holds {found.group()!r}, which cannot be in the name of a directory everywhere"
    if name.startswith("."):
        return "begins with a dot, which hides it or leads out of the directory"
    if name.endswith((".", " ")):
        return "ends with a dot or space, which Windows drops"
    if _DEVICE.fullmatch(name):
        return "is the name of a device on Windows"
    if (size := len(name.encode())) > MAX_NAME_BYTES:
        return f"is {size} bytes long; {MAX_NAME_BYTES} are allowed"
    return None


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
