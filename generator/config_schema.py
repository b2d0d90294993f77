"""The JSON Schema of a ModelConfig in YAML, made from the protobuf descriptor, so that editors complete its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.descriptors import entry, is_map, limits, takes_text

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor


def json_schema(descriptor: Descriptor) -> dict[str, Any]:
    """A message: a closed mapping. That only one member of a oneof may be said is left to `triton-repo`, whose message is clearer."""
    fields = {field.name: _field(field) for field in descriptor.fields}
    return {"type": "object", "title": descriptor.name, "properties": fields, "additionalProperties": False}


def _field(field: FieldDescriptor) -> dict[str, Any]:
    if is_map(field):
        return _map(*entry(field))
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _map(key: FieldDescriptor, value: FieldDescriptor) -> dict[str, Any]:
    text = takes_text(value) or value.type == value.TYPE_STRING
    one = {"anyOf": [{"type": ["string", "number"]}, _one(value)]} if takes_text(value) else {"type": ["string", "number"]}
    made: dict[str, Any] = {"type": "object", "additionalProperties": one if text else _one(value)}
    if key.type != key.TYPE_STRING:
        made["propertyNames"] = {"pattern": "^-?[0-9]+$"}
    return made


def _one(field: FieldDescriptor) -> dict[str, Any]:
    if field.message_type is not None:
        return json_schema(field.message_type)
    if field.enum_type is not None:
        return {"enum": [value.name for value in field.enum_type.values]}
    if field.type == field.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        return {"type": "string"}
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return {"type": "number"}
    low, high = limits(field)
    return {"type": "integer", "minimum": low, "maximum": high}
