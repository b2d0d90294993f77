"""A `config:` block of the spec over what was derived, each field with its place in the YAML.

Scalars and repeated fields replace, messages merge, maps merge by key, a member of a oneof takes its siblings' place; `input` and
`output` merge by name, as which there are follows from the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from generator.config_block import put
from generator.config_reading import Mistake, close, listing
from generator.descriptors import entry, field_of, is_map, is_message, message_of
from generator.draft import Draft, Loc, Origin
from generator.errors import SpecError
from generator.load import place

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from generator.pipeline import Part, Pipeline

_TENSORS = ("input", "output")


def merge(pipeline: Pipeline, part: Part, draft: Draft) -> None:
    """Merge what the spec's `config:` says of `part` into its draft.

    Raises SpecError, with the line of each, for inputs and outputs that the model does not have, and for types and sizes that
    contradict it.
    """
    said, loc = pipeline.spec.config.said(part.role), ("config", part.role)
    mistakes = list(_contradictions(pipeline, part, draft, said, loc))
    if mistakes:
        raise SpecError("\n".join(
            f"{place(pipeline.path, m.loc, pipeline.variant)}: {m.text}" for m in mistakes
        ))  # fmt: skip
    top = _Place("", loc)
    for name, value in said.items():
        if name in _TENSORS:
            _tensors(draft, name, value, top.field(name))
        else:
            _message(draft, draft.config, {name: value}, top)


def _contradictions(pipeline: Pipeline, part: Part, draft: Draft, said: Mapping[str, Any], loc: Loc) -> Iterator[Mistake]:
    if said.get("max_batch_size", 0) > 0 and not pipeline.batched:
        text = f"found {said['max_batch_size']}; expected 0, as the first axis of the model is no batch"
        yield Mistake((*loc, "max_batch_size"), said["max_batch_size"], f"{text}; export it with a dynamic batch, or remove this")
    for kind in _TENSORS:
        seen: set[str] = set()
        for index, item in enumerate(said.get(kind, [])):
            place, name = (*loc, kind, index), item.get("name")
            if name in seen:
                yield Mistake((*place, "name"), name, f"the {kind} {name!r} is said twice; write it once")
            seen.add(name)
            yield from _tensor(part, draft, kind, item, place)


def _tensor(part: Part, draft: Draft, kind: str, item: Mapping[str, Any], loc: Loc) -> Iterator[Mistake]:
    known = {tensor.name: tensor for tensor in getattr(draft.config, kind)}
    if "name" not in item:
        yield Mistake(loc, None, f"found no name; expected the name of the {kind} that is meant, {listing(known)}")
    elif item["name"] not in known:
        yield Mistake((*loc, "name"), None, f"{part.name} has no {kind} {item['name']!r}; {close(item['name'], known)}")
    else:
        yield from _unlike(known[item["name"]], kind, item, loc)


def _unlike(derived: Any, kind: str, item: Mapping[str, Any], loc: Loc) -> Iterator[Mistake]:
    """What a model takes and gives is known; `dims` may differ from it only where `reshape` turns one into the other."""
    number = derived.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    wanted = number[derived.data_type].name
    if item.get("data_type", wanted) != wanted:
        text = f"found {item['data_type']}; expected {wanted}, as the model has it; remove the line"
        yield Mistake((*loc, "data_type"), item["data_type"], text)
    reshaped = "reshape" in item
    shape = item["reshape"].get("shape", []) if reshaped else item.get("dims", list(derived.dims))
    if len(shape) != len(derived.dims) or any(a not in (-1, b) for a, b in zip(derived.dims, shape, strict=True)):
        remedy = "correct the shape" if reshaped else "remove the line, or say with `reshape` what the model gets"
        place = (*loc, "reshape" if reshaped else "dims")
        yield Mistake(place, shape, f"found {shape}; expected {list(derived.dims)}, as the model's {kind} has it; {remedy}")


class _Place(NamedTuple):
    """A field's path in the config, and the place in the YAML that says it."""

    path: str
    loc: Loc

    def field(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name}" if self.path else name, (*self.loc, name))

    def entry(self, key: Any, said: Any = None) -> _Place:
        """An element of a list, or an entry of a map; `said`: where it goes by another index."""
        return _Place(f"{self.path}[{key}]", (*self.loc, key if said is None else said))


def _tensors(draft: Draft, kind: str, items: list[Mapping[str, Any]], place: _Place) -> None:
    tensors = getattr(draft.config, kind)
    names = [tensor.name for tensor in tensors]
    for at, item in enumerate(items):
        index = names.index(item["name"])
        below = {name: value for name, value in item.items() if name != "name"}
        _message(draft, tensors[index], below, place.entry(index, at))


def _message(draft: Draft, target: Message, said: Mapping[str, Any], place: _Place) -> None:
    for name, value in said.items():
        _field(draft, target, field_of(target, name), value, place.field(name))


def _field(draft: Draft, target: Message, field: FieldDescriptor, value: Any, place: _Place) -> None:
    """Set one field and note who said it, and each field below."""
    for sibling in field.containing_oneof.fields if field.containing_oneof else ():
        if sibling.name != field.name:
            draft.forget(place.path.removesuffix(field.name) + sibling.name)
    if is_map(field):
        _map(draft, target, field, value, place)
    elif is_message(field) and isinstance(value, Mapping) and target.HasField(field.name):
        _message(draft, getattr(target, field.name), value, place)
    else:
        put(target, field, value)
        draft.forget(place.path)
        _note(draft, field, value, place)


def _map(draft: Draft, target: Message, field: FieldDescriptor, value: Mapping[Any, Any], place: _Place) -> None:
    entries = getattr(target, field.name)
    for key, item in value.items():
        below = place.entry(key)
        if key in entries and isinstance(item, Mapping):
            _message(draft, entries[key], item, below)
        else:
            put(target, field, {key: item})
            draft.forget(below.path)
            _note_one(draft, entry(field)[1], item, below)


def _note(draft: Draft, field: FieldDescriptor, value: Any, place: _Place) -> None:
    """Who said a field, and each field below; of a list of scalars only the list."""
    if is_map(field):
        for key, item in value.items():
            _note_one(draft, entry(field)[1], item, place.entry(key))
    elif field.is_repeated:
        draft.note(place.path, Origin("spec", place.loc))
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                _note_one(draft, field, item, place.entry(index))
    else:
        _note_one(draft, field, value, place)


def _note_one(draft: Draft, field: FieldDescriptor, value: Any, place: _Place) -> None:
    draft.note(place.path, Origin("spec", place.loc))
    if isinstance(value, Mapping):
        for name, item in value.items():
            _note(draft, message_of(field).fields_by_name[name], item, place.field(name))
