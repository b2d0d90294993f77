"""The config against a TorchScript file: names and counts (pytorch_backend, README.md, "Model Configuration")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from generator import torchscript_signature
from generator.errors import CheckpointError
from generator.model_files import path_of
from generator.rules import Model, Problem, World, listed, rule

_BACKEND = "pytorch_backend, src/libtorch.cc"
_ORDINAL = re.compile(r".+__(\d+)\Z")


@rule("pytorch/file", source=f"{_BACKEND}, ModelState::LoadModel")
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has its TorchScript file, and that is one."""
    if model.config.backend != "pytorch" or model.config.platform not in ("pytorch_libtorch", "libtorch") or model.config.runtime:
        return
    name = model.config.default_model_filename
    for version in model.served:
        if f"{version}/{name}" not in model.files:
            yield Problem(
                "default_model_filename", f"no file {version}/{name}", "the TorchScript model", "add it, or correct the name"
            )
            continue
        path = path_of(model.config, model.files, version)
        try:
            if path is not None:
                torchscript_signature.read(path)
        except CheckpointError as error:
            yield Problem("", error.message, "a TorchScript archive", error.remedy)


@rule("pytorch/names", source=f"{_BACKEND}, ModelInstanceState::ValidateInputs and ValidateOutputs")
def names(model: Model, world: World) -> Iterator[Problem]:
    """Inputs are `forward`'s arguments by name, or NAME__INDEX; outputs are NAME__INDEX; the indices exist."""
    if model.config.backend != "pytorch" or model.config.platform not in ("pytorch_libtorch", "libtorch"):
        return
    for version in model.served:
        path = path_of(model.config, model.files, version)
        try:
            arguments, outputs = torchscript_signature.read(path) if path else (None, None)
        except CheckpointError:
            continue
        for index, tensor in enumerate(model.config.input):
            place = _ORDINAL.match(tensor.name)
            if arguments is None or tensor.name in arguments or (place and int(place[1]) < len(arguments)):
                continue
            expected = f"{listed(arguments)}, or NAME__0 to NAME__{len(arguments) - 1} by position"
            yield Problem(f"input[{index}].name", repr(tensor.name), expected, "correct the name")
        for index, tensor in enumerate(model.config.output):
            place = _ORDINAL.match(tensor.name)
            if not place or (outputs is not None and int(place[1]) >= outputs):
                expected = f"NAME__0 to NAME__{outputs - 1}" if outputs else "NAME__INDEX, the output's position"
                yield Problem(f"output[{index}].name", repr(tensor.name), expected, "correct the name")
