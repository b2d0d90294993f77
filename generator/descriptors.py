"""What a protobuf descriptor says of a field, in the words that the rest of the package needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message


def field_of(message: Message, name: str) -> FieldDescriptor:
    """The field of that name. Raises KeyError."""
    found: FieldDescriptor = message.DESCRIPTOR.fields_by_name[name]  # type: ignore[assignment]
    return found


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message that a field holds."""
    assert field.message_type is not None
    return field.message_type


def is_message(field: FieldDescriptor) -> bool:
    """Does it hold one message?"""
    return field.message_type is not None and not field.is_repeated


def exclusive(descriptor: Descriptor) -> Iterator[list[str]]:
    """The names of fields of which only one can be set: real oneofs, not the compiler's own for `optional`."""
    for oneof in descriptor.oneofs:
        names = [f.name for f in oneof.fields]
        if len(names) > 1:
            yield names


def is_map(field: FieldDescriptor) -> bool:
    """Is it a `map<key, value>`?"""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Key and value of a map field."""
    fields = message_of(field).fields_by_name
    return fields["key"], fields["value"]


def only_scalar(message: Descriptor) -> FieldDescriptor | None:
    """The only field of a message, where that is a single scalar: its value may stand for the message."""
    field = message.fields[0] if len(message.fields) == 1 else None
    return field if field is not None and not field.is_repeated and field.message_type is None else None


def type_name(field: FieldDescriptor) -> str:
    """As model_config.proto writes it: `int64`, `ModelInput`, `map<string, ModelParameter>`, a list as `int64[]`."""
    if is_map(field):
        key, value = entry(field)
        return f"map<{type_name(key)}, {type_name(value)}>"
    named = field.message_type or field.enum_type
    if named is not None:
        return f"{named.name}[]" if field.is_repeated else named.name
    return scalar(field) + ("[]" if field.is_repeated else "")


def scalar(field: FieldDescriptor) -> str:
    """`int64` also where the field is repeated."""
    return next(name[5:].lower() for name in dir(field) if name.startswith("TYPE_") and getattr(field, name) == field.type)


def limits(field: FieldDescriptor) -> tuple[int, int]:
    """The least and the largest value of a whole number."""
    unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
