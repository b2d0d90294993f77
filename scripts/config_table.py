"""docs/config.md: every field of config.pbtxt, since when it is known, where it is said, and who fills it otherwise.

Nothing of the table is written by hand. The fields come from the protobuf descriptor, the versions from field_versions.json;
short forms and defaults from configs that are really made of specs: SAMPLES say every short form there is (a test looks), and
each field that they set remembers where it was said.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import config, field_versions, model_config
from generator.descriptors import entry, is_map, message_of, type_name
from generator.draft import Draft
from generator.load import load
from generator.pipeline import Pipeline

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from google.protobuf.message import Message

ROLES = ("preprocess", "model", "head", "postprocess")
_GROUP = {"count": 2, "kind": "gpu", "gpus": [0], "host_policy": "near"}
_BATCHING = {
    "preferred_batch_sizes": [2], "max_queue_delay_us": 100, "preserve_ordering": True, "priority_levels": 1,
    "default_priority_level": 1,
    "default_queue_policy": {"action": "delay", "timeout_us": 9, "allow_timeout_override": True, "max_queue_size": 9},
}  # fmt: skip
#: Together they say every field of `serving:` and of the target; what excludes each other stands in different ones.
SAMPLES: tuple[dict[str, Any], ...] = (
    {
        "serving": {
            "server": "2.51", "version": 1, "keep": 0, "version_policy": {"latest": 2},
            "max_batch_size": 4, "dynamic_batching": _BATCHING,
            "instances": dict.fromkeys(ROLES, _GROUP),
        },
        "target": {"kind": "onnxruntime", "intra_op_threads": 1, "inter_op_threads": 1, "graph_optimization_level": 1},
    },
    {"serving": {"version_policy": "all", "warmup": {"images": ["photo.png"], "batch_sizes": [1], "count": 2}}},
    {
        "serving": {
            "version_policy": {"specific": [1]}, "response_cache": True, "labels": {"scores": "labels.txt"},
            "warmup": {"inputs": {"image": "image.npy"}},
        },
        "preprocess": None, "postprocess": None,
    },
)  # fmt: skip
_GENERIC = dict.fromkeys(ROLES, "ROLE") | {"scores": "OUTPUT"}
#: Sections of the spec that are short forms, rather than what a field follows from.
_SHORT = ("serving", "target", "name")

INTRODUCTION = """\
# Every field of config.pbtxt

Made from the code by `make docs`; a test fails when it is out of date.

What users set daily has a short form under `serving:`. Every other field of model_config.proto (in
[triton-inference-server/common](https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto)) is said
under `config:`, by the name it has there, for each model of the pipeline: `ensemble`, `preprocess`, `model`, `postprocess`, and
`head` where head and NMS are a step of their own; one that is served bare has only `model`.

```yaml
config:
  model:
    optimization: {cuda: {graphs: true}}
    instance_group:
      - {kind: KIND_GPU, count: 2, gpus: [0], rate_limiter: {resources: [{name: R1, count: 4}], priority: 2}}
    parameters: {intra_op_thread_count: 4}   # a number or a text; stands for {string_value: "4"}
    response_cache: true                     # so does a value for any message whose only field it is
  ensemble:
    metric_tags: {team: vision}
```

- Messages and maps are mappings (an empty message is `{}`), repeated fields are lists, enums go by their name.
- What is said here goes over what follows from the rest of the spec: scalars and lists replace, messages merge, maps merge by
  key, a member of a `oneof` takes its siblings' place. `input` and `output` merge by `name`: there are those that the model has,
  with its types and shapes, which only `reshape` may change.
- YAML reads `yes`, `on` and `true` alike, so a truth value in `parameters` has to be quoted as it shall be written.
- A field that `serving.server`, the oldest server it must run on, does not know is refused before anything is built.
- `triton-repo import` writes such blocks from the configs of a repository that is there.

In the table `[]` is any element of a list, `[KEY]` any entry of a map, ROLE one of the models. **Since**: the first tritonserver
that knows the field; empty where the oldest one looked at, {oldest}, knew it. **Otherwise**: what fills the field where it is not
said: the `model` (its final graph), a `default` of triton-repo, another part of the spec; empty: it stays unset, and tritonserver
decides.
"""


def page() -> str:
    """The whole page, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        short, otherwise = _short_forms(Path(folder)), _otherwise(Path(folder))
    oldest = field_versions.table()["oldest"]
    lines = [
        INTRODUCTION.replace("{oldest}", _minor(oldest)),
        "| field | type | since | said as | otherwise |",
        "|---|---|---|---|---|",
    ]
    for path, kind, since in fields(model_config.descriptor()):
        said = ", ".join(f"`{place}`" for place in sorted(short.get(path, {f"config.ROLE.{path}"})))
        lines.append(f"| `{path}` | {kind} | {since} | {said} | {', '.join(sorted(otherwise.get(path, ())))} |")
    return "\n".join([*lines, "", *_enums()])


def fields(descriptor: Descriptor, above: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, type and first version of every field, and of those below."""
    for field in descriptor.fields:
        path = f"{above}{field.name}"
        yield path, type_name(field).replace("|", "\\|"), _since(f"{_name(descriptor)}.{field.name}")
        below = entry(field)[1] if is_map(field) else field
        if below.message_type is not None:
            mark = "[KEY]" if is_map(field) else "[]" if field.is_repeated else ""
            yield from fields(message_of(below), f"{path}{mark}.")


def _enums() -> Iterator[str]:
    yield "## Enums\n"
    for enum in sorted(_enums_of(model_config.descriptor()), key=lambda e: str(e.full_name)):
        names = [(value.name, _since(f"{_name(enum)}.{value.name}")) for value in enum.values]
        yield f"- {_name(enum)}: {', '.join(f'`{name}`' + (f' (since {since})' if since else '') for name, since in names)}"
    yield ""


def _enums_of(descriptor: Descriptor) -> set[EnumDescriptor]:
    found = set()
    for field in descriptor.fields:
        if field.enum_type is not None:
            found.add(field.enum_type)
        if field.message_type is not None:
            found |= _enums_of(field.message_type)
    return found


def _name(descriptor: Descriptor | EnumDescriptor) -> str:
    return str(descriptor.full_name).partition(".")[2]


def _since(word: str) -> str:
    first = field_versions.since(word)
    return "" if first == field_versions.table()["oldest"] else _minor(first)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _short_forms(folder: Path) -> dict[str, set[str]]:
    """Field -> the places in `serving:` or `target:` that say it."""
    found: dict[str, set[str]] = {}
    for sample in SAMPLES:
        for draft in drafts(folder, sample).values():
            for path, place in places(draft.config):
                origin = draft.origin(path)
                if origin is not None and origin.loc[:1] and origin.loc[0] in _SHORT:
                    words = (_GENERIC.get(str(word), str(word)) for word in origin.loc)
                    found.setdefault(place, set()).add(".".join(words))
    return found


def _otherwise(folder: Path) -> dict[str, set[str]]:
    """Field -> who fills it where nothing is said but what has to be."""
    found: dict[str, set[str]] = {}
    for draft in drafts(folder, {}).values():
        for path, place in places(draft.config):
            if (origin := draft.origin(path)) and origin.loc[:1] != ("name",):
                found.setdefault(place, set()).add(f"`{origin.loc[0]}`" if origin.loc else origin.kind)
    return found


def drafts(folder: Path, said: Mapping[str, Any]) -> dict[str, Draft]:
    """The configs of a tiny classifier, as an ensemble if nothing else is `said`."""
    _files(folder)
    spec = {"name": "sample", "checkpoint": {"kind": "onnx", "file": "model.onnx"}, "preprocess": {"kind": "stretch"}}
    path = folder / "sample.yaml"
    path.write_text(json.dumps({**spec, "postprocess": {"kind": "classification", "top_k": 1}, **said}), encoding="utf-8")
    return config.drafts(Pipeline(path, load(path)))


def _files(folder: Path) -> None:
    """What the samples name: a model, a picture, a row of its input, and labels."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper
    from PIL import Image

    Image.new("RGB", (8, 8)).save(folder / "photo.png")
    np.save(folder / "image.npy", np.zeros((3, 8, 8), np.float32))
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")

    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["scores"])]
    shapes: dict[str, list[int | str]] = {"image": ["N", 3, 8, 8], "scores": ["N", 3]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    made = helper.make_model(helper.make_graph(nodes, "sample", ends[:1], ends[1:]), ir_version=8)
    onnx.save(made, folder / "model.onnx")


def places(message: Message, above: str = "", generic: str = "") -> Iterator[tuple[str, str]]:
    """The path of every field that is set, and the same as the table writes it."""
    for field, value in message.ListFields():
        path, place = f"{above}{field.name}", f"{generic}{field.name}"
        yield path, place
        if is_map(field):
            items = [(f"{path}[{key}]", f"{place}[KEY]", value[key]) for key in sorted(value)]
        elif field.is_repeated:
            items = [(f"{path}[{index}]", f"{place}[]", item) for index, item in enumerate(value)]
        else:
            items = [(path, place, value)]
        for here, there, item in items:
            if hasattr(item, "ListFields"):
                yield from places(item, f"{here}.", f"{there}.")
