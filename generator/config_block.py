"""`config:` in a spec: any field of model_config.proto, said in YAML and held against protobuf's own descriptor.

    optimization: {cuda: {graphs: true}}            # a message is a mapping, an empty one is {}
    instance_group: [{kind: KIND_GPU, gpus: [0]}]   # what is repeated is a list, an enum goes by its name
    parameters: {top_k: 5}                          # a message whose only field is one scalar may be said as that value
    response_cache: true

What the schema gains later can be said as soon as the installed tritonclient carries it.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from generator import model_config
from generator.config_reading import Mistake, Reading
from generator.descriptors import entry, field_of, is_map, only_scalar

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from tritonclient.grpc.model_config_pb2 import ModelConfig


class _Block:
    """Validates with the descriptor; every mistake is told at the place in the YAML where it stands."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.plain_serializer_function_ser_schema(_jsonable)
        return core_schema.no_info_plain_validator_function(block, serialization=plain, ref="ModelConfigBlock")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        from generator.config_schema import json_schema

        return json_schema(model_config.descriptor())


#: A mapping that says fields of a ModelConfig; plain values, known to be right. An empty list or a 0 is kept as said.
ConfigBlock = Annotated[Mapping[str, Any], _Block()]


def _jsonable(said: Any) -> Any:
    """What JSON has no word for as text, which is read back."""
    if isinstance(said, Mapping):
        return {key: _jsonable(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_jsonable(value) for value in said]
    if isinstance(said, bytes):
        return base64.b64encode(said).decode()
    return str(said) if isinstance(said, float) and not math.isfinite(said) else said


def block(said: Any) -> Mapping[str, Any]:
    """Judge what YAML says. Raises pydantic's ValidationError with every mistake, each with its place."""
    reading = Reading()
    plain: Mapping[str, Any] = reading.message(model_config.descriptor(), said, ())
    if reading.mistakes:
        raise invalid(reading.mistakes)
    return plain


def message(said: Any) -> ModelConfig:
    """The ModelConfig that a block says. Raises pydantic's ValidationError with every mistake."""
    config = model_config.new()
    fill(config, block(said))
    return config


def invalid(mistakes: Iterable[Mistake]) -> ValidationError:
    """The exception that pydantic merges into its own, each mistake under the place where the block stands."""
    details = [
        # no template: without a context pydantic leaves braces alone
        InitErrorDetails(type=PydanticCustomError("value_error", m.text), loc=m.loc, input=m.value)
        for m in mistakes
    ]
    return ValidationError.from_exception_data("config", details)


def fill(target: Message, said: Any) -> None:
    """Set what a judged block says, on top of what is there.

    Scalars and repeated fields replace, messages merge, maps merge by key, and a member of a oneof takes its siblings' place.
    """
    if not isinstance(said, Mapping):
        # the value of the only field
        said = {next(iter(target.DESCRIPTOR.fields_by_name)): said}
    for name, value in said.items():
        put(target, field_of(target, name), value)


def put(target: Message, field: FieldDescriptor, value: Any) -> None:
    """Set one field, as `fill` does."""
    if is_map(field):
        for key, item in value.items():
            _put_entry(getattr(target, field.name), key, entry(field)[1], item)
    elif field.is_repeated:
        target.ClearField(field.name)
        for item in value:
            _append(getattr(target, field.name), field, item)
    elif field.message_type is not None:
        getattr(target, field.name).SetInParent()
        fill(getattr(target, field.name), value)
    else:
        setattr(target, field.name, _scalar(field, value))


def _put_entry(target: Any, key: Any, field: FieldDescriptor, value: Any) -> None:
    if field.message_type is None:
        target[key] = _scalar(field, value)
    else:
        fill(target[key], value)


def _append(target: Any, field: FieldDescriptor, value: Any) -> None:
    if field.message_type is None:
        target.append(_scalar(field, value))
    else:
        fill(target.add(), value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    return field.enum_type.values_by_name[value].number if field.enum_type is not None else value


def as_yaml(found: Message) -> dict[str, Any]:
    """The block that says `found`: `message(as_yaml(m)) == m`, also through the text that `dump` writes.

    What is set is said, also an empty message or a 0 in a oneof. Only a number that its enum has no name for cannot be said
    in a block: it stays a number here, and reading it is refused.
    """
    return {field.name: _plain(field, value) for field, value in found.ListFields()}


def dump(said: Mapping[str, Any]) -> str:
    """YAML text that carries every string."""
    return yaml.dump(said, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """PyYAML writes U+0085 bare into a single-quoted string, and reads it as a line's end."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if "\x85" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        # in text_format's order: equal messages give equal YAML
        return {key: _plain_entry(entry(field)[1], value[key]) for key in sorted(value)}
    return [_plain_one(field, item) for item in value] if field.is_repeated else _plain_one(field, value)


def _plain_entry(field: FieldDescriptor, value: Any) -> Any:
    """`parameters: {key: text}`."""
    only = only_scalar(field.message_type) if field.message_type is not None else None
    if only is not None and only.type == only.TYPE_STRING:
        return getattr(value, only.name)
    return _plain_one(field, value)


def _plain_one(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return as_yaml(value)
    if field.enum_type is not None:
        name = field.enum_type.values_by_number.get(value)
        return name.name if name else value
    return _shortest(value) if field.type == field.TYPE_FLOAT else value


def _shortest(value: float) -> float:
    """0.1 for the single-precision number nearest to it, which as a double is 0.10000000149011612."""
    if not math.isfinite(value):
        return value
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return next(float(text) for text in texts if _bits(float(text)) == _bits(value))


def _bits(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # rounded up past the largest
        return b""
