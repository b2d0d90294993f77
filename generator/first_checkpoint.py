"""`checkpoint:` of a first spec: the file, where the weights lie in it, the factory, and what it takes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from generator.inspection.report import Report, file_field
from generator.plugin import family
from generator.spec_text import CHECK, FILL_IN, FirstSpec, flow, remark

_CLASSIFIER_SIZE = 224


def relative(path: Path, folder: Path) -> str:
    """A path as the spec in `folder` says it."""
    return os.path.relpath(path, folder)


def checkpoint(spec: FirstSpec, found: Report, folder: Path) -> None:
    """Say what is known of it; mark what is not."""
    kind: Any = family("generator.frontends").get(found.kind.kind)
    spec.say("checkpoint:")
    spec.say(f"kind: {found.kind.kind}", 1)
    own = {file_field(kind) if kind else "file": found.path, **found.contents.fields}
    for key, value in own.items():
        spec.say(f"{key}: {flow(relative(value, folder) if isinstance(value, Path) else value)}", 1)
    for key in ("cfg", "weights") if found.kind.kind == "darknet" else ():
        if key not in own:
            spec.say(f"{key}: {found.path.stem}.{key} {FILL_IN} the .{key} that belongs to it", 1)
    if found.kind.kind in ("state_dict", "safetensors"):
        _weights(spec, found)
    elif found.kind.kind == "pickled":
        _where(spec, found)
        spec.say(f"trust_checkpoint: false {FILL_IN} true, if you trust whoever made it: loading runs code from the file", 1)
        _said_inputs(spec, found, ("input",))
    elif found.kind.kind == "torchscript":
        names = [each for each in found.contents.facts.get("forward takes", "").split(", ") if each.isidentifier()]
        _said_inputs(spec, found, tuple(names) or ("input",))
    elif (
        kind is not None and "trust_checkpoint" in kind.model_fields and found.contents.code and found.kind.kind != "ultralytics"
    ):
        spec.say(f"trust_checkpoint: false {FILL_IN} true, if you trust whoever made it: loading runs code from the file", 1)
    elif found.kind.kind == "torch_export":
        spec.say(f"trust_checkpoint: false {FILL_IN} true, if you trust whoever made it: torch's loader can run code", 1)


def _where(spec: FirstSpec, found: Report) -> None:
    """`key` and `prefix`, as far as the file has them."""
    group = found.contents.groups[found.chosen]
    if group.path:
        others = [other.path or "the top" for other in found.contents.groups if other is not group]
        also = f"  # there are also {remark(', '.join(others))}" if others else ""
        spec.say(f"key: {flow(group.path)}{also}", 1)
    if found.judged[found.chosen].prefix:
        spec.say(f"prefix: {flow(found.judged[found.chosen].prefix)}", 1)


def _weights(spec: FirstSpec, found: Report) -> None:
    """Where the weights lie, and the factory: the library's own where the tensors are those of its model."""
    if found.kind.kind == "state_dict" or found.judged[found.chosen].prefix:
        _where(spec, found)
    sure = found.judged[found.chosen].sure
    if sure is None:
        seems = "; ".join(map(str, found.judged[found.chosen].guesses))
        if seems:
            spec.say(f"# by its names: {remark(seems)}", 1)
        spec.say(f"factory: model.py:build {FILL_IN} the callable that makes its module, file.py:name or package.module:name", 1)
        spec.say("# arguments: {num_classes: 10}  # keyword arguments of the factory", 1)
        _said_inputs(spec, found, ("image",))
        return
    classes = {"num_classes": sure.classes} if sure.classes else {}
    if sure.library == "torchvision":
        spec.say("factory: torchvision.models:get_model", 1)
        spec.say(f"arguments: {flow({'name': sure.name, 'weights': None, **classes})}", 1)
    else:
        spec.say("factory: timm:create_model", 1)
        spec.say(f"arguments: {flow({'model_name': sure.name, **classes})}", 1)
    size = _size_in(sure.name) or _CLASSIFIER_SIZE
    spec.say(f"inputs: {{image: [batch, {_channels(found)}, {size}, {size}]}} {CHECK} the size of its training", 1)


def _size_in(name: str) -> int:
    """`vit_base_patch16_384` says its size."""
    found = re.search(r"_(\d{3})(_|\.|$)", name)
    return int(found[1]) if found and 64 <= int(found[1]) <= 896 else 0


def _channels(found: Report) -> int:
    """Of the first convolution; 3 where there is none."""
    shapes = found.judged[found.chosen].shapes.values() if found.judged else ()
    return next((shape[1] for shape in shapes if len(shape) == 4), 3)


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
