"""A transformers or timm folder: its config.json, and the tensors of the weights beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.errors import CheckpointError
from generator.inspection import Contents, Group, torch_files
from generator.inspection.safetensors import header, tensors
from generator.pickle_notes import Array

KINDS = ("transformers", "timm")

_TOLD = (
    "architectures", "architecture", "model_type", "_name_or_path", "transformers_version", "torch_dtype", "dtype", "hidden_size",
    "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings", "image_size", "patch_size", "num_labels",
    "num_classes",
)  # fmt: skip


def read(path: Path) -> Contents:
    """Of the folder, or of the folder that a config.json or an index lies in. Raises CheckpointError."""
    folder = path if path.is_dir() else path.parent
    said = config(folder)
    facts = {name: str(said[name])[:80] for name in _TOLD if name in said}
    groups = [Group(name, held) for name, held in _weights(folder)]
    if not groups:
        facts["weights"] = "none: neither model.safetensors nor pytorch_model.bin lies in the folder"
    elif groups and "auto_map" in said:
        facts["code"] = "config.json names Python files of its own (auto_map); they are not run without `trust_checkpoint: true`"
    return Contents(tuple(groups), facts=facts, labels=_labels(said), fields={"folder": folder})


def config(folder: Path) -> dict[str, Any]:
    """config.json. Raises CheckpointError."""
    try:
        with (folder / "config.json").open("rb") as file:
            said = json.loads(file.read(1 << 24))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder}/config.json: cannot be read: {error}", "fetch the folder again") from None
    return said if isinstance(said, dict) else {}


def _weights(folder: Path) -> list[tuple[str, dict[str, Array]]]:
    parts = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if parts:
        held: dict[str, Array] = {}
        for part in parts:
            held |= tensors(part, {name: entry for name, entry in header(part).items() if name != "__metadata__"})
        return [(parts[0].name if len(parts) == 1 else f"{len(parts)} files", held)]
    old = sorted(folder.glob("pytorch_model*.bin"))
    found = [group for part in old for group in torch_files.read(part).groups]
    return (
        [(", ".join(part.name for part in old[:2]), {k: v for group in found for k, v in group.tensors.items()})] if found else []
    )


def _labels(said: Mapping[str, Any]) -> tuple[str, ...]:
    names = said.get("id2label") or {}
    if isinstance(names, dict) and names and all(str(key).isdigit() for key in names):
        return tuple(str(names[key]) for key in sorted(names, key=int))
    listed = said.get("label_names")
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
