"""How a file in a family folder becomes a choice in the spec.

A family is a package (`generator.heads`) whose `__init__` holds one base class. Every module in it that
defines a subclass with `kind: Literal["..."]` is a choice: the spec's union, the JSON Schema, the docs table
and the plug-in tests all come from here, so that adding one edits no list.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Union

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Model(BaseModel):
    """Frozen, closed, and with typed defaults: the base of everything that the YAML can say."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Plugin(Model):
    """A choice of a family. The first line of the class's docstring is its line in the docs table."""

    #: What the user calls it in YAML; a `Literal` field in each subclass.
    kind: Any = None
    #: Files beside the plug-in's own source whose content decides what it does (they enter the cache key).
    sources: ClassVar[tuple[str, ...]] = ()


@functools.cache
def family(package: str) -> dict[str, type[Plugin]]:
    """kind -> class for every plug-in file of `package`, sorted by kind."""
    module = importlib.import_module(package)
    found: dict[str, type[Plugin]] = {}
    for info in pkgutil.iter_modules(module.__path__):
        file = importlib.import_module(f"{package}.{info.name}")
        for value in vars(file).values():
            if _is_choice(value) and value.__module__ == file.__name__:
                found[value.model_fields["kind"].default] = value
    return dict(sorted(found.items()))


def _is_choice(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Plugin) and bool(value.model_fields["kind"].default)


def source_of(plugin: Plugin) -> list[Path]:
    """The files whose text decides what `plugin` does: its own, those of its parents and of its parts, and its `sources`."""
    classes = [cls for cls in type(plugin).__mro__ if issubclass(cls, Plugin) and cls is not Plugin]
    own = [Path(importlib.import_module(cls.__module__).__file__ or "") for cls in classes]
    parts = [path for _, value in plugin if isinstance(value, Plugin) for path in source_of(value)]
    return list(dict.fromkeys([*own, *(own[0].parent / name for name in plugin.sources), *parts]))


class Choice:
    """Marks a spec field typed by a family's base class: `head: Annotated[Head, Choice("generator.heads")]`."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = tuple(family(self.package).values())
        if not choices:
            return handler(source)
        one = choices[0] if len(choices) == 1 else Annotated[Union[choices], Field(discriminator="kind")]
        schema, names = handler.generate_schema(one), core_schema.literal_schema(_alone(choices))
        said = core_schema.union_schema([schema, names]) if names["expected"] else schema
        return core_schema.no_info_before_validator_function(_kind, schema, json_schema_input_schema=said)


def _kind(value: Any) -> Any:
    """`tensorrt` says `{kind: tensorrt}`."""
    return {"kind": value} if isinstance(value, str) else value


def _alone(choices: tuple[type[Plugin], ...]) -> list[Any]:
    """Kinds of which nothing else must be said."""
    return [cls.model_fields["kind"].default for cls in choices if not any(f.is_required() for f in cls.model_fields.values())]
