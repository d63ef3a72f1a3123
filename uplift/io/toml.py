"""Write TOML (the standard library only reads it)."""

from __future__ import annotations

import json
import re
from typing import Any


def toml_key(name: str) -> str:
    """A key, quoted where it must be.

    Examples
    --------
    >>> toml_key("coupon_5"), toml_key("Mens E-Mail")
    ('coupon_5', '"Mens E-Mail"')
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_value(entry: Any) -> str:
    """A string, number, boolean, list or (inline) table.

    Examples
    --------
    >>> toml_value({"on": "conversion", "amount": 5.0})
    '{ on = "conversion", amount = 5.0 }'
    """
    if isinstance(entry, dict):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(part)}" for key, part in entry.items()) + " }"
    if isinstance(entry, list | tuple):
        return "[" + ", ".join(toml_value(part) for part in entry) + "]"
    # Strings and numbers read the same in JSON and TOML, but for DEL, which JSON leaves bare.
    return json.dumps(entry, ensure_ascii=False).replace("\x7f", "\\u007f")


def dump_toml(content: dict[str, dict[str, Any]]) -> str:
    """Sections of plain entries; dictionaries inside ``arms`` become sections ``[arms.NAME]``."""
    blocks = []
    for section, entries in content.items():
        if section == "arms":
            blocks += [_block(f"arms.{toml_key(name)}", arm) for name, arm in entries.items()]
        else:
            blocks.append(_block(section, entries))
    return "\n".join(blocks)


def _block(header: str, entries: dict[str, Any]) -> str:
    lines = [f"{toml_key(key)} = {toml_value(entry)}" for key, entry in entries.items() if entry is not None]
    return "\n".join([f"[{header}]", *lines]) + "\n"
