"""The JSON Schema of a ModelConfig in YAML, made from the protobuf descriptor, so that editors complete its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator import model_config
from generator.descriptors import entry, is_map, limits, only_scalar

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

#: A number stands for its text in the values of a map.
_TEXT = {"type": ["string", "number"]}


def json_schema(descriptor: Descriptor) -> dict[str, Any]:
    """A message: a closed mapping. Which members of a oneof exclude each other is left to `triton-repo`, which says it better."""
    fields = {field.name: _field(field) for field in descriptor.fields}
    made = {"type": "object", "title": str(descriptor.full_name), "properties": fields, "additionalProperties": False}
    only = only_scalar(descriptor)
    if only is None:
        return made
    return {"anyOf": [_TEXT if only.type == only.TYPE_STRING else _one(only), made]}


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with every protobuf message written once, in `$defs`, and referred to."""
    definitions: dict[str, Any] = {}
    made: dict[str, Any] = _shared(schema, definitions)
    return {**made, "$defs": {**made.get("$defs", {}), **dict(sorted(definitions.items()))}}


def _shared(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_shared(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _shared(value, definitions) for key, value in node.items()}
    package, dot, name = str(node.get("title", "")).partition(".")
    if not dot or package != _package():
        return made
    own = {key: made.pop(key) for key in ("type", "title", "properties", "additionalProperties")}
    definitions[name] = {**own, "title": name}
    return {**made, "$ref": f"#/$defs/{name}"}


def _package() -> str:
    return str(model_config.descriptor().file.package)


def _field(field: FieldDescriptor) -> dict[str, Any]:
    if is_map(field):
        return _map(*entry(field))
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _map(key: FieldDescriptor, value: FieldDescriptor) -> dict[str, Any]:
    made = {"type": "object", "additionalProperties": _TEXT if value.type == value.TYPE_STRING else _one(value)}
    return made if key.type == key.TYPE_STRING else {**made, "propertyNames": {"pattern": "^-?[0-9]+$"}}


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
