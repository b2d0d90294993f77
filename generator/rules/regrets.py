"""What the server accepts and users regret: all warnings."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator

from generator.model_config import data_type
from generator.rules import NO_VERSIONS, Model, Problem, World, rule, tensors, text, version_of
from generator.rules.ensemble import is_ensemble, steps

_GUIDE = "server, docs/user_guide/model_configuration.md"
_ONNX = "onnxruntime_backend, src/onnxruntime.cc"
#: Keys of `parameters` that the onnxruntime backend reads; it passes over any other without a word.
_ONNX_KEYS = (
    "intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena", "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers", "cudnn_conv_algo_search",
    "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream",
)  # fmt: skip


@rule("regret/io_twice", level="warning", source="core, src/model.cc, Model::Init (required_input_count_)")
def twice(model: Model, world: World) -> Iterator[Problem]:
    """An input listed twice counts twice, and then no request has them all."""
    for kind, items in (("input", model.config.input), ("output", model.config.output)):
        count = Counter(tensor.name for tensor in items)
        for index, tensor in enumerate(items):
            if tensor.name and count[tensor.name] > 1:
                count[tensor.name] = 0
                yield Problem(
                    f"{kind}[{index}].name", f"{tensor.name!r} more than once", "each tensor once", "remove the second one"
                )


@rule("regret/batch_in_dims", level="warning", source=f"{_GUIDE}, Maximum Batch Size")
def batch_in_dims(model: Model, world: World) -> Iterator[Problem]:
    """Dims do not count the batch where max_batch_size is above 0: a leading -1 there is one more free dimension."""
    if model.config.max_batch_size <= 0 or model.config.backend == "onnxruntime" or is_ensemble(model):
        return  # against an ONNX file, and along the edges of an ensemble, the shapes themselves are compared
    found = [(path, tensor) for path, tensor in tensors(model.config) if len(tensor.dims) > 1 and tensor.dims[0] == -1]
    if found and len(found) == len(model.config.input) + len(model.config.output):
        path, tensor = found[0]
        what = (
            f"{list(tensor.dims)} with max_batch_size {model.config.max_batch_size}, so that requests have {[-1, *tensor.dims]}"
        )
        yield Problem(f"{path}.dims", what, "dims without the batch", f"say {list(tensor.dims)[1:]} if the first is the batch")


@rule("regret/no_batches", level="warning", source=f"{_GUIDE}, Dynamic Batcher")
def no_batches(model: Model, world: World) -> Iterator[Problem]:
    """Dynamic batching forms batches only where max_batch_size is above 1."""
    if model.said.HasField("dynamic_batching") and model.config.max_batch_size in (0, 1):
        found = f"said, with max_batch_size {model.config.max_batch_size}"
        yield Problem("dynamic_batching", found, "max_batch_size above 1", "raise max_batch_size, or remove dynamic_batching")


@rule("regret/preferred_never_waits", level="warning", source=f"{_GUIDE}, Preferred Batch Sizes and Delayed Batching")
def never_waits(model: Model, world: World) -> Iterator[Problem]:
    """Preferred sizes without a queue delay: nothing is waited for, so they form by chance only."""
    batcher = model.said.dynamic_batching
    sizes = [size for size in batcher.preferred_batch_size if 0 < size < model.config.max_batch_size]
    if sizes and not batcher.max_queue_delay_microseconds:
        found = f"{sizes} with max_queue_delay_microseconds 0"
        yield Problem(
            "dynamic_batching.preferred_batch_size", found, "a delay to wait for them", "say a delay, or remove the sizes"
        )


@rule("regret/unused_schedule", level="warning", source="core, src/ensemble_scheduler/ensemble_scheduler.cc")
def unused_schedule(model: Model, world: World) -> Iterator[Problem]:
    """An ensemble does not batch by itself; its steps do."""
    for name in ("dynamic_batching", "sequence_batching"):
        if model.config.platform == "ensemble" and model.said.HasField(name):
            yield Problem(name, "said for an ensemble", "for its steps", "move it to the models of the steps")


@rule("regret/two_instances", level="warning", source="core, src/model_config_utils.cc, SetDefaultInstanceCount")
def two_instances(model: Model, world: World) -> Iterator[Problem]:
    """Without instance_group, the server makes two instances of an ONNX model on the CPU, each with threads of its own."""
    if model.written and model.config.backend == "onnxruntime" and not model.config.instance_group and world.gpus in (None, 0):
        found = "nothing, which is two instances on a CPU-only server"
        yield Problem("instance_group", found, "the number that is meant", "say `instance_group { count: 1 kind: KIND_CPU }`")


@rule("regret/completed_batch", level="warning", source=f"{_ONNX}, AutoCompleteMaxBatch")
def completed_batch(model: Model, world: World) -> Iterator[Problem]:
    """Where inputs or outputs are left out, the server chooses max_batch_size: 4."""
    if not world.strict and model.config.backend == "onnxruntime" and model.said.max_batch_size != model.config.max_batch_size:
        found = f"nothing, which the server completes to {model.config.max_batch_size}"
        yield Problem("max_batch_size", found, "the largest batch that is meant", "say max_batch_size, input and output")


@rule("regret/ignored_folder", level="warning", source="core, src/model_repository_manager/model_lifecycle.cc, VersionsToLoad")
def ignored_folder(model: Model, world: World) -> Iterator[Problem]:
    """Sub-folders that look like versions, and that the server passes over or reads otherwise."""
    for name in sorted(model.folders):
        if "/" in name or name in NO_VERSIONS:
            continue
        number = version_of(name)
        if number is None and any(c.isdigit() for c in name) and len(name) <= 4:
            yield Problem("", f"folder {name}, which the server passes over", "a whole number", "rename it if it is a version")
        elif number is not None and str(number) != name:
            yield Problem("", f"folder {name}, which the server takes for version {number}", "a whole number", "rename it")


@rule("regret/misspelt_file", level="warning", source="server, docs/user_guide/model_repository.md")
def misspelt(model: Model, world: World) -> Iterator[Problem]:
    """Files whose names are nearly right."""
    for name in sorted(model.files):
        if "/" not in name and name != "config.pbtxt" and difflib.SequenceMatcher(None, name, "config.pbtxt").ratio() > 0.8:
            yield Problem("", f"file {name}, which the server does not read", "config.pbtxt", "rename it")


@rule("regret/specific_missing", level="warning", source="core, src/model_repository_manager/model_lifecycle.cc, VersionsToLoad")
def specific_missing(model: Model, world: World) -> Iterator[Problem]:
    """A version that the policy names and that is not there: the server logs it and goes on."""
    for index, version in enumerate(model.config.version_policy.specific.versions):
        if version not in model.versions and model.versions:
            there = ", ".join(map(str, model.versions))
            field = f"version_policy.specific.versions[{index}]"
            yield Problem(field, f"{version}, which is not there", f"one of {there}", "add the version folder, or remove it here")


@rule("regret/parameter", level="warning", source=f"{_ONNX} and README.md, Model Config Options")
def parameter(model: Model, world: World) -> Iterator[Problem]:
    """Parameters that the onnxruntime backend does not know have no effect."""
    for key in sorted(model.config.parameters) if model.config.backend == "onnxruntime" else ():
        close = difflib.get_close_matches(key, _ONNX_KEYS, n=1)
        if key not in _ONNX_KEYS and close:
            yield Problem(f"parameters[{key}]", f"{key!r}, which the backend does not read", repr(close[0]), "correct the key")


@rule("regret/labels", level="warning", source="server, docs/protocol/extension_classification.md")
def labels(model: Model, world: World) -> Iterator[Problem]:
    """A labels file has a line for each class."""
    for index, tensor in enumerate(model.config.output):
        if not tensor.label_filename or model.files.get(tensor.label_filename) is None or not tensor.dims:
            continue
        count, classes = len(text(model, tensor.label_filename).splitlines()), tensor.dims[-1]
        if classes > 0 and count != classes:
            found = f"{count} labels in {tensor.label_filename}"
            yield Problem(
                f"output[{index}].label_filename", found, f"{classes}, as dims {list(tensor.dims)} say", "correct the file"
            )


@rule("regret/one_value_labels", level="warning", source="server, docs/protocol/extension_classification.md")
def label_type(model: Model, world: World) -> Iterator[Problem]:
    """Strings have no classes to label."""
    for index, tensor in enumerate(model.config.output):
        if tensor.label_filename and data_type(tensor.data_type) == "TYPE_STRING":
            yield Problem(f"output[{index}].label_filename", "labels for TYPE_STRING", "scores", "remove label_filename")


@rule("regret/fixed_step_version", level="warning", source="server, docs/user_guide/ensemble_models.md")
def step_version(model: Model, world: World) -> Iterator[Problem]:
    """A step that names version 0 most likely leaves the version out: -1 is the latest, and 0 is what nothing reads as."""
    for path, found in steps(model):
        if found.model_version == 0:
            yield Problem(f"{path}.model_version", "0, or nothing said", "-1 for the latest", "say `model_version: -1`")
