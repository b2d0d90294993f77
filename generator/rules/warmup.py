"""Warm-up samples, which each instance runs before the model is ready (core, src/backend_model_instance.cc)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from generator.model_config import data_type
from generator.rules import Model, Problem, World, listed, rule
from generator.tensors import byte_size

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelWarmup

_SOURCE = "core, src/backend_model_instance.cc, GenerateWarmupData"
_REQUEST = "core, src/infer_request.cc, Normalize"


def _samples(model: Model) -> Iterator[tuple[str, str, ModelWarmup.Input]]:
    """Path, input name and message of each input of each sample that runs."""
    if model.config.HasField("ensemble_scheduling"):
        return
    for index, sample in enumerate(model.config.model_warmup):
        if sample.batch_size:
            for name in sorted(sample.inputs):
                yield f"model_warmup[{index}].inputs[{name}]", name, sample.inputs[name]


@rule("warmup/dims", source=_SOURCE)
def dims(model: Model, world: World) -> Iterator[Problem]:
    """A sample's dims are fixed."""
    for path, _, given in _samples(model):
        for place, dim in enumerate(given.dims):
            if dim == -1:
                yield Problem(f"{path}.dims[{place}]", "-1", "a fixed dimension", "say how long it is in this sample")


@rule("warmup/data", source=_SOURCE)
def data(model: Model, world: World) -> Iterator[Problem]:
    """A sample says where its data come from."""
    for path, _, given in _samples(model):
        if given.WhichOneof("input_data_type") is None:
            yield Problem(path, "no data", "zero_data, random_data or input_data_file", "say one of them")


@rule("warmup/file", source=_SOURCE)
def file(model: Model, world: World) -> Iterator[Problem]:
    """A sample's file lies in `warmup/` and holds at least one row."""
    for path, _, given in _samples(model):
        if given.WhichOneof("input_data_type") != "input_data_file":
            continue
        name = f"warmup/{given.input_data_file}"
        if name not in model.files:
            yield Problem(
                f"{path}.input_data_file", f"no file {name!r}", "the file, in the model folder", "add it, or correct it"
            )
            continue
        source, width = model.files[name], byte_size(data_type(given.data_type))
        if source is not None and data_type(given.data_type) == "TYPE_STRING":
            yield from _strings(path, name, source, math.prod(given.dims))
        wanted = math.prod(given.dims) * width
        if source is not None and width and source.stat().st_size < wanted:
            found = f"{source.stat().st_size} bytes in {name}"
            expected = f"{wanted} bytes: {data_type(given.data_type)}{list(given.dims)}"
            yield Problem(f"{path}.input_data_file", found, expected, "write the file again, one row without the batch dimension")


def _strings(path: str, name: str, source: Path, wanted: int) -> Iterator[Problem]:
    """Each element has its length in front, four bytes, little-endian; there are as many as dims say."""
    data, at, count = source.read_bytes(), 0, 0
    while at + 4 <= len(data):
        at += 4 + int.from_bytes(data[at : at + 4], "little")
        count += 1
    if at != len(data) or count != wanted:
        found = f"{count} elements in {name}" if at == len(data) else f"{name}, which is cut off or not in serialised form"
        expected = f"{wanted}, each with its length in front as four bytes"
        yield Problem(f"{path}.input_data_file", found, expected, "write the file again, one row without the batch dimension")


@rule("warmup/inputs", source=_REQUEST)
def inputs(model: Model, world: World) -> Iterator[Problem]:
    """A sample has every input that a request must have, of its type and shape."""
    known = {tensor.name: tensor for tensor in model.config.input}
    if not known or model.config.HasField("ensemble_scheduling"):
        return
    for index, sample in enumerate(model.config.model_warmup):
        if not sample.batch_size:
            continue
        missing = [name for name, tensor in known.items() if not tensor.optional and name not in sample.inputs]
        if missing:
            given = listed(sample.inputs, "no input")
            yield Problem(f"model_warmup[{index}].inputs", f"{given}; not {missing[0]!r}", "every input", f"add {missing[0]!r}")
        elif len(known) < len(model.config.input):
            twice = "an input that the config lists twice, which no request can satisfy"
            yield Problem(f"model_warmup[{index}].inputs", twice, "each input listed once", "remove the second one")
    for path, name, given in _samples(model):
        if name in known and data_type(given.data_type) != data_type(known[name].data_type):
            expected = f"the input's, {data_type(known[name].data_type)}"
            yield Problem(f"{path}.data_type", data_type(given.data_type), expected, "correct the type")
        elif name in known and not _fits(list(given.dims), list(known[name].dims)):
            yield Problem(f"{path}.dims", str(list(given.dims)), f"the input's, {list(known[name].dims)}", "correct the dims")


def _fits(found: list[int], wanted: list[int]) -> bool:
    return len(found) == len(wanted) and all(-1 in (a, b) or a == b for a, b in zip(found, wanted, strict=True))


@rule("warmup/batch_size", source="python_backend, src/python_be.cc, ModelInstanceState::ProcessRequests")
def batch_size(model: Model, world: World) -> Iterator[Problem]:
    """A sample's batch is not larger than max_batch_size."""
    if model.config.HasField("ensemble_scheduling"):
        return
    most = max(1, model.config.max_batch_size)
    for index, sample in enumerate(model.config.model_warmup):
        if sample.batch_size > most:
            found = f"{sample.batch_size} with max_batch_size {model.config.max_batch_size}"
            yield Problem(f"model_warmup[{index}].batch_size", found, f"at most {most}", "lower it")
