"""Darknet: a cfg and the weights beside it, or the weights and the cfg beside them."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

from generator.errors import CheckpointError
from generator.file_kind import of
from generator.inspection import Contents, Group
from generator.pickle_notes import Array
from generator.postprocessing import label_names

KINDS = ("darknet",)


def read(path: Path) -> Contents:
    """Layers and the tensors that they take from the weights, in the order of the file. Raises CheckpointError."""
    pair = files(path)
    if "cfg" not in pair:
        return Contents(facts={"numbers": f"{(path.stat().st_size - 20) // 4:,} FP32", "cfg": "none of its name lies beside it"})
    from generator.darknet import layers, read_cfg

    made = layers(read_cfg(pair["cfg"]))
    counted = Counter(layer.section.kind for layer in made)
    facts = {"layers": ", ".join(f"{count} {name}" for name, count in counted.most_common())}
    held: dict[str, Array] = {}
    channels = read_cfg(pair["cfg"])[0].integer("channels", 3)
    for index, layer in enumerate(made):
        if layer.section.kind == "convolutional":
            before = made[layer.sources[0]].shape[0] if layer.sources[0] >= 0 else channels
            held |= _convolution(index, layer.section.values, layer.shape[0], before)
    if "weights" in pair:
        numbers, wanted = _numbers(pair["weights"]), sum(array.size for array in held.values())
        facts["numbers"] = f"{pair['weights'].name}: {numbers:,} FP32, the cfg takes {wanted:,}"
    else:
        facts["numbers"] = "none of its name lies beside it"
    labels = _labels(path)
    return Contents((Group("", held),), facts=facts, labels=labels, fields=dict(pair))


def files(path: Path) -> dict[str, Path]:
    """`cfg` and `weights`: the file itself, and the other one beside it: of the same name, or the only one there."""
    found: dict[str, Path] = {}
    for field, ending in (("cfg", ".cfg"), ("weights", ".weights")):
        if path.suffix == ending:
            found[field] = path
            continue
        beside = sorted(each for each in path.parent.glob(f"*{ending}") if each.is_file())
        same = [each for each in beside if each.stem == path.stem]
        if same or len(beside) == 1:
            found[field] = (same or beside)[0]
    kind = of(path)
    assert kind is not None
    found["weights" if "weights" in kind.phrase else "cfg"] = path
    return found


def _convolution(index: int, said: dict[str, str], filters: int, channels: int) -> dict[str, Array]:
    try:
        size, groups = int(said.get("size", "1")), int(said.get("groups", "1"))
    except ValueError:
        return {}
    names = ("bias", "scale", "running_mean", "running_variance") if said.get("batch_normalize", "0") != "0" else ("bias",)
    kernel = Array("FP32", (filters, channels // max(groups, 1), size, size))
    return {**{f"{index}.{name}": Array("FP32", (filters,)) for name in names}, f"{index}.kernel": kernel}


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as file:
            _major, minor = struct.unpack("<2i", file.read(8))
    except (OSError, struct.error) as error:
        raise CheckpointError(f"{path}: not Darknet weights: {error}", "name the .weights of its training") from None
    return (path.stat().st_size - (20 if minor >= 2 else 16)) // 4


def _labels(path: Path) -> tuple[str, ...]:
    """A .names file, where only one lies beside it."""
    found = sorted(path.parent.glob("*.names"))
    return tuple(label_names(found[0])) if len(found) == 1 else ()
