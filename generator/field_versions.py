"""Which tritonserver knows which field of config.pbtxt; the table is made by scripts/field_versions.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

Version = tuple[int, ...]


@functools.cache
def table() -> dict[str, Any]:
    """`since`: field or enum value -> the first version that has it; `oldest` and `newest`: the versions looked at."""
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def version(text: str) -> Version:
    """2.51.0 -> (2, 51)."""
    return tuple(map(int, text.split(".")[:2]))


def since(word: str) -> str:
    """The first version with `ModelConfig.runtime`, such as 2.42.0; `later than 2.73.0` for what the table does not have."""
    found: str = table()["since"].get(word, f"later than {table()['newest']}")
    return found


def unknown_to(config: Message, server: Version) -> Iterator[tuple[str, str]]:
    """Field path, and since when, of everything set in `config` that `server` cannot read."""
    yield from _message(config, server, "")


def _message(found: Message, server: Version, path: str) -> Iterator[tuple[str, str]]:
    values: list[tuple[Any, Any]] = list(found.ListFields())
    name = str(found.DESCRIPTOR.full_name).partition(".")[2]
    for field, value in values:
        here = f"{path}.{field.name}" if path else field.name
        if _newer(f"{name}.{field.name}", server):
            yield here, since(f"{name}.{field.name}")
            continue
        for place, item in _items(field, value, here):
            if field.enum_type is not None:
                # a number without a name is read by every server: the enums are open (tried: `optimization { priority: 77 }`)
                known = field.enum_type.values_by_number.get(item)
                word = f"{field.enum_type.full_name.partition('.')[2]}.{known.name}" if known else ""
                if word and _newer(word, server):
                    yield place, since(word)
            elif hasattr(item, "ListFields"):
                yield from _message(item, server, place)


def _items(field: Any, value: Any, path: str) -> list[tuple[str, Any]]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return [(f"{path}[{key}]", value[key]) for key in sorted(value)]
    return [(f"{path}[{index}]", item) for index, item in enumerate(value)] if field.is_repeated else [(path, value)]


def _newer(word: str, server: Version) -> bool:
    first = table()["since"].get(word)
    return first is None or (version(first) > server and first != table()["oldest"])
