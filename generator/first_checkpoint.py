"""`checkpoint:` of a first spec: the file, where the weights lie in it, the factory, and what it takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from generator.inspection.report import Report, file_field
from generator.plugin import family
from generator.spec_text import FILL_IN, FirstSpec, flow, remark


def relative(path: Path, folder: Path) -> str:
    """A path as the spec in `folder` says it."""
    return os.path.relpath(path, folder)


def checkpoint(spec: FirstSpec, found: Report, folder: Path) -> None:
    """Say what is known of it; mark what is not."""
    kind, known = found.kind.kind, found.library_model
    cls: Any = family("generator.frontends").get(kind)
    spec.say("checkpoint:")
    spec.say(f"kind: {known.library if known else kind}", 1)
    if known:
        also = f"  # the same tensors have {remark(', '.join(known.others))}" if known.others else ""
        spec.say(f"model: {flow(known.name)}{also}", 1)
    own = {file_field(cls) if cls else "file": found.path, **found.contents.fields}
    for key, value in own.items():
        spec.say(f"{key}: {flow(relative(value, folder) if isinstance(value, Path) else value)}", 1)
    for key in ("cfg", "weights") if kind == "darknet" else ():
        if key not in own:
            spec.say(f"{key}: {found.path.stem}.{key} {FILL_IN} the .{key} that belongs to it", 1)
    if known:
        _where(spec, found)
        if known.classes:
            spec.say(f"arguments: {flow({'num_classes': known.classes})}", 1)
    else:
        _unknown(spec, found, cls)


def _unknown(spec: FirstSpec, found: Report, cls: Any) -> None:
    """What only the user knows."""
    kind = found.kind.kind
    if kind in ("state_dict", "safetensors"):
        _weights(spec, found)
    elif kind == "torchscript":
        names = [each for each in found.contents.facts.get("forward takes", "").split(", ") if each.isidentifier()]
        _said_inputs(spec, found, tuple(names) or ("input",))
    elif kind == "pickled":
        _where(spec, found)
        _trust(spec, "loading runs code from the file")
        _said_inputs(spec, found, ("input",))
    elif kind == "torch_export":
        _trust(spec, "torch's loader can run code")
    elif found.contents.code and "trust_checkpoint" in getattr(cls, "model_fields", {}) and kind != "ultralytics":
        _trust(spec, "loading runs code from the file")


def _trust(spec: FirstSpec, why: str) -> None:
    spec.say(f"trust_checkpoint: false {FILL_IN} true, if you trust whoever made it: {why}", 1)


def _where(spec: FirstSpec, found: Report) -> None:
    """`key` and `prefix`, as far as the file has them."""
    group = found.contents.groups[found.chosen]
    if group.path and found.kind.kind != "safetensors":
        others = [other.path or "the top" for other in found.contents.groups if other is not group]
        also = f"  # there are also {remark(', '.join(others))}" if others else ""
        spec.say(f"key: {flow(group.path)}{also}", 1)
    if found.judged[found.chosen].prefix:
        spec.say(f"prefix: {flow(found.judged[found.chosen].prefix)}", 1)


def _weights(spec: FirstSpec, found: Report) -> None:
    """Where the weights lie; the factory only the user knows."""
    _where(spec, found)
    seems = "; ".join(map(str, found.judged[found.chosen].guesses)) if found.judged else ""
    if seems:
        spec.say(f"# by its names: {remark(seems)}", 1)
    spec.say(f"factory: model.py:build {FILL_IN} the callable that makes its module, file.py:name or package.module:name", 1)
    spec.say("# arguments: {num_classes: 10}  # keyword arguments of the factory", 1)
    _said_inputs(spec, found, ("image",))


def likely_input(found: Report) -> str:
    """The shape that the first layer takes, as YAML; tokens and rows where no convolution comes first."""
    shapes = found.judged[found.chosen].shapes if found.judged else {}
    if any("embeddings.word" in name or "embed_tokens" in name for name in shapes):
        return "{dtype: INT64, shape: [batch, length], range: [0, 1000]}"
    first = next((shape for shape in shapes.values() if len(shape) in (2, 3, 4)), (0, 3, 0, 0))
    forms = {2: f"[batch, {first[1]}]", 3: f"[batch, {first[1]}, length]", 4: f"[batch, {first[1]}, 224, 224]"}
    return forms[len(first)]


def _said_inputs(spec: FirstSpec, found: Report, names: tuple[str, ...]) -> None:
    """A shape for each input: that of the first layer for the first."""
    spec.say("inputs:", 1)
    for index, name in enumerate(names):
        shape = likely_input(found) if index == 0 else "[batch, 1]"
        spec.say(f"{flow(name)}: {shape} {FILL_IN} its shape; a name is a free axis, a number fixed", 2)
