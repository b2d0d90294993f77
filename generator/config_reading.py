"""Plain YAML values -> the values a protobuf message takes; every mistake with its place."""

from __future__ import annotations

import base64
import difflib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from generator.descriptors import entry, exclusive, is_map, limits, only_scalar, scalar, type_name

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

    from generator.draft import Loc

_LISTED = 30
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


class Mistake(NamedTuple):
    """What is wrong at a place of the YAML."""

    loc: Loc
    value: Any
    text: str


@dataclass
class Reading:
    """Walks what was said along the descriptor; gives back plain values of the right types, and collects the mistakes."""

    mistakes: list[Mistake] = field(default_factory=list)

    def _wrong(self, loc: Loc, value: Any, expected: str) -> Any:
        return self._mistake(loc, value, f"found {short(value)}; expected {expected}")

    def _mistake(self, loc: tuple[Any, ...], value: Any, text: str) -> None:
        # pydantic takes texts and numbers only; YAML's keys can also be truth values, dates and nothing
        steps = (getattr(step, "text", step) for step in loc)
        place = tuple(step if isinstance(step, int | str) and not isinstance(step, bool) else str(step) for step in steps)
        self.mistakes.append(Mistake(place, value, text))

    def message(self, descriptor: Descriptor, said: Any, loc: Loc) -> Any:
        """The fields of one message, or the value of its only scalar."""
        only = only_scalar(descriptor)
        if only is not None and not isinstance(said, Mapping):
            return self._text(said, loc) if only.type == only.TYPE_STRING else self._one(only, said, loc)
        if not isinstance(said, Mapping):
            return self._wrong(loc, said, f"a mapping of the fields of {descriptor.name} ({{}} for an empty one)")
        known = descriptor.fields_by_name
        for key in [key for key in said if key not in known]:
            self._mistake((*loc, key), said[key], f"unknown field {short(key)} of {descriptor.name}; {close(key, known)}")
        for names in exclusive(descriptor):
            for second in [name for name in said if name in names][1:]:
                first = next(name for name in said if name in names)
                text = f"said together with {first!r}; only one of {', '.join(names)} can be"
                self._mistake((*loc, second), said[second], text)
        return {key: self._field(known[key], value, (*loc, key)) for key, value in said.items() if key in known}

    def _field(self, field: FieldDescriptor, said: Any, loc: Loc) -> Any:
        if is_map(field):
            return self._map(field, said, loc)
        if not field.is_repeated:
            return self._one(field, said, loc)
        if not isinstance(said, list | tuple):
            return self._wrong(loc, said, "a list, as the field is repeated; write `- ` before each element")
        return [self._one(field, value, (*loc, index)) for index, value in enumerate(said)]

    def _map(self, field: FieldDescriptor, said: Any, loc: Loc) -> Any:
        key_field, value_field = entry(field)
        if not isinstance(said, Mapping):
            return self._wrong(loc, said, f"a mapping from {type_name(key_field)} to {type_name(value_field)}")
        made: dict[Any, Any] = {}
        for key, value in said.items():
            read = self._key(key_field, key, (*loc, key))
            if read is not None and read in made:
                self._mistake((*loc, key), value, f"the key {short(key)} is said twice; remove one")
            made[read] = self._entry(value_field, value, (*loc, key))
        return made

    def _key(self, field: FieldDescriptor, key: Any, loc: Loc) -> Any:
        """A number may be the key of texts (`7.5: model.plan`), and the text of a number the key of numbers."""
        if field.type == field.TYPE_STRING:
            return self._text(key, loc)
        if isinstance(key, str) and key.removeprefix("-").isdecimal() and key.isascii():
            return self._one(field, int(key), loc)
        return self._one(field, key, loc)

    def _entry(self, field: FieldDescriptor, value: Any, loc: Loc) -> Any:
        if field.type == field.TYPE_STRING:
            return self._text(value, loc)
        return self._one(field, value, loc)

    def _text(self, value: Any, loc: Loc) -> Any:
        """A string, or a number as it was written. A truth value is refused: YAML reads YES, on and true alike."""
        if isinstance(value, bool):
            return self._wrong(loc, value, "a text; YAML reads yes, on and true alike, so quote what shall be written")
        if isinstance(value, int | float):
            return str(getattr(value, "text", value))
        return self._string(value, loc)

    def _one(self, field: FieldDescriptor, value: Any, loc: Loc) -> Any:
        if field.message_type is not None:
            return self.message(field.message_type, value, loc)
        if field.enum_type is not None:
            return self._enum(field.enum_type, value, loc)
        if field.type == field.TYPE_STRING:
            return self._string(value, loc)
        if field.type == field.TYPE_BYTES:
            return self._bytes(value, loc)
        if field.type == field.TYPE_BOOL:
            return value if isinstance(value, bool) else self._wrong(loc, value, "true or false")
        if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
            return self._float(field, value, loc)
        return self._int(field, value, loc)

    def _enum(self, kind: EnumDescriptor, value: Any, loc: Loc) -> Any:
        names = kind.values_by_name
        if isinstance(value, str) and value in names:
            return value
        return self._wrong(loc, value, f"a name of {kind.name}; {close(value, names)}")

    def _string(self, value: Any, loc: Loc) -> Any:
        if not isinstance(value, str):
            quote = f"; quote it: {str(getattr(value, 'text', value))!r}" if isinstance(value, int | float) else ""
            return self._wrong(loc, value, f"a text{quote}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            return self._wrong(loc, value, "text that UTF-8 can carry, without half of a surrogate pair")
        return str(value)

    def _bytes(self, value: Any, loc: Loc) -> Any:
        try:
            return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            return self._wrong(loc, value, "bytes in base64")

    def _float(self, field: FieldDescriptor, value: Any, loc: Loc) -> Any:
        """YAML 1.1 reads 1e-3 as a text, so the text of a number is taken."""
        number = _number(value)
        if number is None:
            return self._wrong(loc, value, f"a number ({scalar(field)})")
        try:
            struct.pack("<f" if field.type == field.TYPE_FLOAT else "<d", number)
        except OverflowError:
            return self._wrong(loc, value, f"at most {_FLOAT_MAX:.7g} (float)")
        return number

    def _int(self, field: FieldDescriptor, value: Any, loc: Loc) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return self._wrong(loc, value, f"a whole number ({scalar(field)})")
        low, high = limits(field)
        return int(value) if low <= value <= high else self._wrong(loc, value, f"{low} to {high} ({scalar(field)})")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def close(name: object, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what there is."""
    names = list(known)
    wanted = str(name).upper()
    same = [n for n in names if n.upper() == wanted or n.upper().endswith(f"_{wanted}")]
    if found := same or difflib.get_close_matches(str(name), names, n=1):
        return f"did you mean {found[0]!r}?"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"known here: {', '.join(sorted(names)[:_LISTED])}{more}"


def listing(names: Iterable[str]) -> str:
    """`one of a, b`."""
    return f"one of {', '.join(sorted(names))}"


def short(value: Any) -> str:
    """A value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return f"an empty {kind[2:]}" if not value else kind
    text = str(getattr(value, "text", repr(value)))
    return text if len(text) <= 60 else f"{text[:57]}..."
