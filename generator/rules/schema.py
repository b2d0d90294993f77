"""Fields that the oldest server it must run on does not know."""

from __future__ import annotations

from collections.abc import Iterator

from generator.field_versions import unknown_to
from generator.rules import Model, Problem, World, rule
from generator.server_version import text_of

_SOURCE = "common, protobuf/model_config.proto of each release; core, src/filesystem/api.cc, ReadTextProto"


@rule("schema/newer-field", source=_SOURCE)
def newer_field(model: Model, world: World) -> Iterator[Problem]:
    """Every field that is set is known to the oldest server that must read it."""
    for field, since in unknown_to(model.said, world.server) if world.server else ():
        expected = f"fields that tritonserver {text_of(world.server)} knows"
        yield Problem(field, f"a field of tritonserver {since}", expected, "remove it, or let `server:` be that version or later")
