"""Versions of tritonserver: `2.51`, or the release of its container, `24.10`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from generator.install import SERVER_VERSION

Version = tuple[int, ...]
#: Containers go by year and month; the server is at version 2.
_FIRST_YEAR = 18


@functools.cache
def releases() -> dict[str, str]:
    """Container release -> version of the server in it (generator/releases.json, made by scripts/releases.py)."""
    found: dict[str, str] = json.loads(Path(__file__).with_name("releases.json").read_text(encoding="utf-8"))
    return found


def parse(value: Any) -> Version:
    """2.51, 2.51.0, 24.10 or a number of YAML as it was written -> (2, 51). Raises ValueError for what is no version."""
    if isinstance(value, tuple | list) and value and all(isinstance(part, int) for part in value):
        return tuple(value)
    # 2.60 is not 2.6, so the number's text decides
    text = str(getattr(value, "text", value))
    parts = text.split(".")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdecimal() for part in parts):
        example = text_of(DEFAULT_SERVER)
        raise ValueError(f"found {text!r}; expected a version of tritonserver such as {example}, or its container")
    if int(parts[0]) < _FIRST_YEAR:
        return tuple(int(part) for part in parts[:2])
    if text not in releases():
        known = list(releases())
        raise ValueError(f"found {text!r}; of containers {known[0]} to {known[-1]} are known; say the server's own version")
    return tuple(int(part) for part in releases()[text].split(".")[:2])


def text_of(version: Version) -> str:
    """(2, 51) -> 2.51."""
    return ".".join(map(str, version))


#: The server that `make` installs, and that generated repositories are proven on.
DEFAULT_SERVER: Version = tuple(int(part) for part in SERVER_VERSION.split(".")[:2])

#: What a spec says: the oldest server that must load what it makes.
ServerVersion = Annotated[Version, BeforeValidator(parse, json_schema_input_type=str | float)]
