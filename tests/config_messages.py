"""ModelConfigs made from the protobuf descriptor itself: random ones for hypothesis, and one block a field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from generator import model_config
from generator.config_block import put
from generator.descriptors import entry, exclusive, is_map, limits, message_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor


#: Texts that YAML reads as something else, or must escape.
HARD = [
    "yes", "No", "on", "null", "~", "", " ", "1", "1.5", "0x1f", "1e3", "2001-01-01", "- a", "a: b", "# c", "a #b", "'",
    '"', "\\", "{", "*a", "&a", "!x", "%", "@", "\x00", "\t", "\n", "\r", "a\n\n b ", "\x85", "\u2028", "\ufeff",
    "\x7f", "=", "<<", "---", "...", "? k", "|", ">", "12:30:45", "0o17", ".inf", "\U0001f600",
]  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """Every text UTF-8 can carry."""
    return st.one_of(st.text(st.characters(codec="utf-8"), max_size=20), st.sampled_from(HARD))


def blocks(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """What a judged block says: any of the fields, of those that exclude each other at most one."""
    fields = {field.name: field for field in descriptor.fields}
    groups = list(exclusive(descriptor))

    def pick(names: list[str]) -> list[str]:
        return [name for name in names if all(name not in group or names_in(group, names)[0] == name for group in groups)]

    def names_in(group: list[str], names: list[str]) -> list[str]:
        return [name for name in names if name in group]

    if not fields:
        return st.just({})
    some = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4).map(pick)
    return some.flatmap(lambda names: st.fixed_dictionaries({name: _field(fields[name]) for name in names}))


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if is_map(field):
        key, value = entry(field)
        return st.dictionaries(_one(key), _one(value), max_size=2)
    return st.lists(_one(field), max_size=3) if field.is_repeated else _one(field)


def _one(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return blocks(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values])
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type == field.TYPE_STRING:
        return texts()
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return st.floats(width=32 if field.type == field.TYPE_FLOAT else 64, allow_nan=False)
    low, high = limits(field)
    return st.integers(low, high) | st.sampled_from([low, high, 0])


@st.composite
def messages(draw: st.DrawFn) -> Any:
    """A ModelConfig with any fields set, also empty messages, and zeros in a oneof."""
    made = model_config.new()
    for name, value in draw(blocks(model_config.descriptor())).items():
        put(made, made.DESCRIPTOR.fields_by_name[name], value)
    return made


def leaves(descriptor: Descriptor, above: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The fields that lead to each scalar, and to each message without fields."""
    for field in descriptor.fields:
        below = entry(field)[1] if is_map(field) else field
        if below.message_type is not None and below.message_type.fields:
            yield from leaves(message_of(below), (*above, field))
        else:
            yield (*above, field)


def saying(path: tuple[FieldDescriptor, ...]) -> dict[str, Any]:
    """A block that says the last field of `path` and nothing besides."""
    field, below = path[0], path[1:]
    kind = entry(field)[1] if is_map(field) else field
    value = saying(below) if below else example(kind)
    if is_map(field):
        return {field.name: {7 if entry(field)[0].type != field.TYPE_STRING else "key": value}}
    return {field.name: [value] if field.is_repeated else value}


def example(field: FieldDescriptor) -> Any:
    """A value that is not the field's default."""
    if field.message_type is not None:
        return {}
    if field.enum_type is not None:
        return field.enum_type.values[-1].name
    if field.type == field.TYPE_BOOL:
        return True
    if field.type == field.TYPE_STRING:
        return "text"
    return 0.5 if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE) else 3


def path_of(path: tuple[FieldDescriptor, ...]) -> str:
    """As generator/draft.py writes it, for what `saying` says."""
    words = []
    for field in path:
        index = "[7]" if is_map(field) and entry(field)[0].type != field.TYPE_STRING else "[key]" if is_map(field) else "[0]"
        last_list = field is path[-1] and not is_map(field)
        words.append(field.name + (index if (is_map(field) or field.is_repeated) and not last_list else ""))
    return ".".join(words)
