"""Batch inputs and outputs, which the backend makes from the batch (core, src/model_config_utils.cc, ValidateBatchIO)."""

from __future__ import annotations

from collections.abc import Iterator

from generator.model_config import data_type
from generator.rules import Model, Problem, World, listed, rule

_SOURCE = "core, src/model_config_utils.cc, ValidateBatchIO"
_TYPES = {8: "TYPE_INT32", 11: "TYPE_FP32"}


@rule("batch_io/input", source=_SOURCE)
def inputs(model: Model, world: World) -> Iterator[Problem]:
    """A batch input has one source, INT32 or FP32."""
    for index, item in enumerate(model.config.batch_input):
        path = f"batch_input[{index}]"
        if len(item.source_input) != 1:
            yield Problem(f"{path}.source_input", f"{len(item.source_input)} sources", "one", "name one input of the model")
        if item.data_type not in _TYPES:
            yield Problem(f"{path}.data_type", data_type(item.data_type), " or ".join(_TYPES.values()), "correct the type")


@rule("batch_io/output", source=_SOURCE)
def outputs(model: Model, world: World) -> Iterator[Problem]:
    """A batch output has one source and scatters into outputs of the model, each once."""
    names = {tensor.name for tensor in model.config.output}
    for index, item in enumerate(model.config.batch_output):
        path = f"batch_output[{index}]"
        if len(item.source_input) != 1:
            yield Problem(f"{path}.source_input", f"{len(item.source_input)} sources", "one", "name one input of the model")
        if not item.target_name:
            # not among the core's rules: server 2.51 ends at such a config
            expected = listed(names, "an output of the model")
            yield Problem(f"{path}.target_name", "none", expected, "name the output it scatters into")
        for place, target in enumerate(item.target_name):
            if target not in names:
                yield Problem(
                    f"{path}.target_name[{place}]",
                    repr(target),
                    listed(names, "a tensor that the config lists"),
                    "name an output of the model",
                )
            elif target in list(item.target_name)[:place]:
                yield Problem(f"{path}.target_name[{place}]", f"{target!r} again", "each output once", "remove it")


@rule("batch_io/source", source=_SOURCE)
def sources(model: Model, world: World) -> Iterator[Problem]:
    """Batch inputs and outputs are made from inputs that the model has."""
    names = {tensor.name for tensor in model.config.input}
    for kind, items in (("batch_input", model.config.batch_input), ("batch_output", model.config.batch_output)):
        for index, item in enumerate(items):
            for place, source in enumerate(item.source_input):
                if source not in names:
                    field = f"{kind}[{index}].source_input[{place}]"
                    yield Problem(
                        field, repr(source), listed(names, "a tensor that the config lists"), "name an input of the model"
                    )
