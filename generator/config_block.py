"""Any part of a ModelConfig, said in YAML by the names of model_config.proto and judged by its descriptor: no twin of the schema.

    optimization: {cuda: {graphs: true}}        # a message is a mapping, an empty one is {}
    instance_group: [{kind: KIND_GPU, gpus: [0]}]   # what is repeated is a list, an enum goes by its name
    parameters: {top_k: 5}                      # a number or a text stands for {string_value: "5"}

What the schema gains later can be said as soon as the installed tritonclient carries it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema, to_jsonable_python

from generator import model_config
from generator.config_reading import Mistake, Reading
from generator.descriptors import SHORT, entry, is_map, takes_text

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True)
class ConfigBlock:
    """Fields of a ModelConfig as they were said: plain values, enums by name. Also an empty list, or a 0, is kept as said."""

    said: dict[str, Any]

    def message(self) -> ModelConfig:
        """As a message of its own."""
        made = model_config.new()
        fill(made, self.said)
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.plain_serializer_function_ser_schema(lambda block: to_jsonable_python(block.said, bytes_mode="base64"))
        return core_schema.no_info_plain_validator_function(_block, serialization=plain, ref=cls.__name__)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        from generator.config_schema import json_schema

        return json_schema(model_config.descriptor())


def block(said: Any) -> ConfigBlock:
    """Judge a mapping. Raises pydantic's ValidationError with every mistake, each with its place."""
    reading = Reading()
    plain = reading.message(model_config.descriptor(), said, ())
    if reading.mistakes:
        raise invalid(reading.mistakes)
    return ConfigBlock(plain)


def message(said: Any) -> ModelConfig:
    """A ModelConfig from YAML's plain values. Raises pydantic's ValidationError with every mistake."""
    return block(said).message()


def invalid(mistakes: Iterable[Mistake]) -> ValidationError:
    """The exception that pydantic merges into its own, each mistake under the place where the block stands."""
    details = [
        # no template: without a context pydantic leaves braces alone
        InitErrorDetails(type=PydanticCustomError("value_error", cast(LiteralString, m.text)), loc=m.loc, input=m.value)
        for m in mistakes
    ]
    return ValidationError.from_exception_data("ConfigBlock", details)


def _block(said: Any) -> ConfigBlock:
    return said if isinstance(said, ConfigBlock) else block(said)


def fill(target: Message, said: Mapping[str, Any]) -> None:
    """Set what a judged block says, on top of what is there.

    Scalars and repeated fields replace, messages merge, maps merge by key, and a member of a oneof takes its siblings' place.
    """
    for name, value in said.items():
        put(target, target.DESCRIPTOR.fields_by_name[name], value)


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
        fill(target[key], {SHORT: value} if isinstance(value, str) else value)


def _append(target: Any, field: FieldDescriptor, value: Any) -> None:
    if field.message_type is None:
        target.append(_scalar(field, value))
    else:
        fill(target.add(), value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    return field.enum_type.values_by_name[value].number if field.enum_type is not None else value


def as_yaml(message: Message) -> dict[str, Any]:
    """Plain values from which `message()` makes an equal message; what is set is said, also an empty message or a 0 in a oneof.

    YAML carries every text (safe_dump quotes and escapes). A number that its enum has no name for stays a number, and is
    refused when it is read.
    """
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        item = entry(field)[1]
        # text_format's order, so that equal messages give equal YAML
        return {key: _plain_entry(item, value[key]) for key in sorted(value)}
    return [_plain_one(field, item) for item in value] if field.is_repeated else _plain_one(field, value)


def _plain_entry(field: FieldDescriptor, value: Any) -> Any:
    made = _plain_one(field, value)
    return made.get(SHORT, "") if takes_text(field) and set(made) <= {SHORT} else made


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
    return next(float(text) for text in texts if struct.pack("<f", float(text)) == struct.pack("<f", value))
