"""torch.export archives: the parameters that the graph's signature names, with the types and shapes that its JSON gives them.

Source: torch/_export/serde/schema.py (dtype numbers: class ScalarType there).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator import archives
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.pickle_notes import Array

KINDS = ("torch_export",)

_SCALARS = {
    1: "UINT8", 2: "INT8", 3: "INT16", 4: "INT32", 5: "INT64", 6: "FP16", 7: "FP32", 8: "FP64", 12: "BOOL", 13: "BF16",
    28: "UINT16",
}  # fmt: skip


def read(path: Path) -> Contents:
    """Parameters and buffers; the operators used. Raises CheckpointError."""
    names = archives.names(path)
    name = next((each for each in names if each.endswith(("models/model.json", "serialized_exported_program.json"))), "")
    try:
        said = json.loads(archives.read(path, name))
        graph = said["graph_module"]["graph"]
        held = _held(said["graph_module"]["signature"]["input_specs"], graph["tensor_values"])
        operators = sorted({node["target"].removeprefix("torch.ops.") for node in graph["nodes"]})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a torch.export archive that is known: {error}", "save it with a newer torch"
        ) from None
    facts = {"operators": ", ".join(operators[:12]) + (", ..." if len(operators) > 12 else "")}
    if isinstance(said.get("torch_version"), str):
        facts["written by"] = f"torch {said['torch_version']}"
    return Contents((Group("", held),), facts=facts)


def _held(specs: list[Any], values: Mapping[str, Any]) -> dict[str, Array]:
    found = {}
    for spec in specs:
        for kind, name in (
            ("parameter", "parameter_name"),
            ("buffer", "buffer_name"),
            ("tensor_constant", "tensor_constant_name"),
        ):
            if kind in spec:
                value = values[spec[kind]["arg"]["name"]]
                shape = tuple(int(extent["as_int"]) for extent in value["sizes"])
                found[str(spec[kind][name])] = Array(_SCALARS.get(value["dtype"], f"torch type {value['dtype']}"), shape)
    return found
