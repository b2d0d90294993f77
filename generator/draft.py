"""A ModelConfig in the making that remembers where each of its fields came from.

A field's path is written as the checker and the messages write it: `max_batch_size`, `input[0].dims`, `parameters[top_k]`,
`ensemble_scheduling.step[1].input_map[IMAGE]`; list indices count from 0, map entries go by their key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: Where a place in the YAML is: the keys and indices that lead there.
Loc = tuple[int | str, ...]


@dataclass(frozen=True)
class Origin:
    """Who decided a field: the user's spec (at `loc`), the model's final graph, or a default of ours."""

    kind: Literal["spec", "model", "default"]
    loc: Loc = ()

    def __str__(self) -> str:
        """As the comment in config.pbtxt says it."""
        return f"spec: {'.'.join(map(str, self.loc))}" if self.kind == "spec" else self.kind


MODEL = Origin("model")
DEFAULT = Origin("default")


@dataclass
class Draft:
    """The message, and the origin of each field path that was noted; a path without one has its parent's."""

    config: ModelConfig
    origins: dict[str, Origin] = field(default_factory=dict)

    def note(self, path: str, origin: Origin) -> None:
        """Remember who decided `path` and all below it."""
        self.origins[path] = origin

    def forget(self, path: str) -> None:
        """Remove the notes on `path` and all below it, which something else has replaced."""
        for known in list(self.origins):
            above = known
            while above and above != path:
                above = parent(above)
            if above:
                del self.origins[known]

    def comments(self) -> dict[str, str]:
        """What config.pbtxt says behind each field that was noted, but for what the comment on the field above tells already."""
        return {path: str(origin) for path, origin in self.origins.items() if not self._told_above(path, origin)}

    def _told_above(self, path: str, origin: Origin) -> bool:
        """A block of `config:` says its fields by their own names: its place is enough."""
        above = self.origin(parent(path))
        inside = above is not None and bool(above.loc) and origin.loc[: len(above.loc)] == above.loc
        return inside and origin.loc[0] == "config"

    def origin(self, path: str) -> Origin | None:
        """Who decided `path`: its own note, else the nearest one above."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = parent(path)
        return None


def parent(path: str) -> str:
    """`input[0].dims` -> `input[0]` -> `input` -> ``. A map key may hold any character but is closed by the last bracket."""
    if path.endswith("]"):
        return path[: _opening(path)]
    return path.rpartition(".")[0] if "[" not in path else _above(path)


def _opening(path: str) -> int:
    depth = 0
    for index in range(len(path) - 1, -1, -1):
        depth += (path[index] == "]") - (path[index] == "[")
        if depth == 0:
            return index
    return 0


def _above(path: str) -> str:
    """The path up to the last dot that is outside brackets."""
    depth, cut = 0, 0
    for index, character in enumerate(path):
        depth += (character == "[") - (character == "]")
        if character == "." and depth == 0:
            cut = index
    return path[:cut]
