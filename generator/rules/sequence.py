"""The sequence batcher: control tensors, strategies and implicit state."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from generator.model_config import data_type, schema
from generator.rules import Model, Problem, World, rule
from generator.tensors import byte_size

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelSequenceBatching

_UTILS = "core, src/model_config_utils.cc"
_SCHEDULER = "core, src/sequence_batch_scheduler/sequence_batch_scheduler.cc"
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def _kind(number: int) -> str:
    name: str = schema().ModelSequenceBatching.Control.Kind.Name(number)
    return name


def _controls(model: Model) -> Iterator[tuple[str, str, ModelSequenceBatching.Control]]:
    """Path, kind and message of every control."""
    for i, tensor in enumerate(model.config.sequence_batching.control_input):
        for j, control in enumerate(tensor.control):
            yield f"sequence_batching.control_input[{i}].control[{j}]", _kind(control.kind), control


@rule("sequence/control_name", source=f"{_UTILS}, GetBooleanSequenceControlProperties")
def names(model: Model, world: World) -> Iterator[Problem]:
    """Each control tensor has a name of its own."""
    seen: set[str] = set()
    for index, tensor in enumerate(model.config.sequence_batching.control_input):
        path = f"sequence_batching.control_input[{index}].name"
        if not tensor.name:
            yield Problem(path, "nothing", "the tensor's name", "say `name`")
        elif tensor.name in seen:
            yield Problem(path, f"{tensor.name!r} again", "one entry a tensor", "put its controls into one entry, or rename it")
        seen.add(tensor.name)


@rule("sequence/control_twice", source=f"{_UTILS}, GetBooleanSequenceControlProperties")
def twice(model: Model, world: World) -> Iterator[Problem]:
    """Each kind of control is said once."""
    seen: set[str] = set()
    for path, kind, _ in _controls(model):
        if kind in seen:
            yield Problem(f"{path}.kind", f"{kind} again", "each kind once", "remove one")
        seen.add(kind)


@rule("sequence/control_values", source=f"{_UTILS}, GetBooleanSequenceControlProperties and GetTypedSequenceControlProperties")
def values(model: Model, world: World) -> Iterator[Problem]:
    """START, END and READY say their false and true value in one type; CORRID has none and says its data type."""
    for path, kind, control in _controls(model):
        said = [name for name in _VALUES if getattr(control, name)]
        if kind == "CONTROL_SEQUENCE_CORRID":
            if said:
                yield Problem(f"{path}.{said[0]}", f"values for {kind}", "none", f"remove {said[0]}")
            if data_type(control.data_type) not in _CORRID_TYPES:
                expected = f"one of {', '.join(_CORRID_TYPES)}"
                yield Problem(f"{path}.data_type", data_type(control.data_type), expected, "correct the type")
        elif len(said) != 1:
            found = " and ".join(said) or "none"
            yield Problem(path, f"values {found} for {kind}", f"one of {', '.join(_VALUES)}", "say the values for false and true")
        elif len(getattr(control, said[0])) != 2:
            found = f"{len(getattr(control, said[0]))} values"
            yield Problem(f"{path}.{said[0]}", found, "two, for false and for true", "correct them")


@rule("sequence/slot_utilization", source=f"{_UTILS}, ValidateModelConfig")
def utilization(model: Model, world: World) -> Iterator[Problem]:
    """The direct strategy's minimum_slot_utilization is between 0 and 1."""
    found = model.config.sequence_batching.direct.minimum_slot_utilization
    if found < 0 or found > 1:
        yield Problem("sequence_batching.direct.minimum_slot_utilization", f"{found:g}", "0 to 1", "correct it")


@rule("sequence/initial_state", source=f"{_SCHEDULER}, Create and GenerateInitialStateData")
def initial_state(model: Model, world: World) -> Iterator[Problem]:
    """An initial state is one a state, of the state's type and dims, with every dimension known."""
    for index, state in enumerate(model.config.sequence_batching.state):
        path = f"sequence_batching.state[{index}].initial_state"
        if len(state.initial_state) > 1:
            yield Problem(path, f"{len(state.initial_state)} initial states", "one, or none", "remove the others")
        elif state.initial_state:
            yield from _initial(f"{path}[0]", state)


def _initial(path: str, state: ModelSequenceBatching.State) -> Iterator[Problem]:
    initial = state.initial_state[0]
    if initial.data_type != state.data_type:
        found, expected = data_type(initial.data_type), f"the state's, {data_type(state.data_type)}"
        yield Problem(f"{path}.data_type", found, expected, "make them equal")
    if not initial.name:
        yield Problem(f"{path}.name", "nothing", "a name", "say `name`")
    if len(initial.dims) != len(state.dims):
        found = f"{list(initial.dims)} for the state's {list(state.dims)}"
        yield Problem(f"{path}.dims", found, f"{len(state.dims)} dimensions", "make them equal")
        return
    for place, (dim, wanted) in enumerate(zip(initial.dims, state.dims, strict=True)):
        if dim == -1:
            yield Problem(f"{path}.dims[{place}]", "-1", "a fixed dimension", "say how long it is")
        elif wanted not in (-1, dim):
            yield Problem(f"{path}.dims[{place}]", str(dim), f"the state's, {wanted}", "make them equal")
    if initial.WhichOneof("state_data") is None:
        yield Problem(path, "neither zero_data nor data_file", "one of the two", "say `zero_data: true`")


@rule("sequence/initial_state_file", source=f"{_SCHEDULER}, GenerateInitialStateData")
def initial_file(model: Model, world: World) -> Iterator[Problem]:
    """The file of an initial state lies in `initial_state/` and is as long as the state."""
    for index, state in enumerate(model.config.sequence_batching.state):
        for initial in state.initial_state[:1]:
            if initial.WhichOneof("state_data") != "data_file":
                continue
            field = f"sequence_batching.state[{index}].initial_state[0].data_file"
            name = f"initial_state/{initial.data_file}"
            if name not in model.files:
                yield Problem(field, f"no file {name!r}", "the file, in the model folder", "add it, or correct the name")
                continue
            path, width = model.files[name], byte_size(data_type(initial.data_type))
            wanted = math.prod(initial.dims) * width
            if path is not None and width and min(initial.dims, default=1) > 0 and path.stat().st_size != wanted:
                yield Problem(field, f"{path.stat().st_size} bytes", f"{wanted} bytes", "write the file again")


@rule("sequence/state_names", source=f"{_SCHEDULER}, GenerateInitialStateData")
def state_names(model: Model, world: World) -> Iterator[Problem]:
    """Two states with an initial value are not for one input."""
    count = Counter(state.input_name for state in model.config.sequence_batching.state if state.initial_state)
    for index, state in enumerate(model.config.sequence_batching.state):
        if state.initial_state and count[state.input_name] > 1:
            count[state.input_name] = 0
            field = f"sequence_batching.state[{index}].input_name"
            yield Problem(field, f"{state.input_name!r} more than once", "one state an input", "remove the others")


@rule("sequence/growable_memory", source="core, src/sequence_state.cc, SequenceStates::Initialize")
def growable(model: Model, world: World) -> Iterator[Problem]:
    """Growable memory needs a single buffer and GPU instances; the server looks when the first sequence comes."""
    for index, state in enumerate(model.config.sequence_batching.state):
        path = f"sequence_batching.state[{index}].use_growable_memory"
        if state.use_growable_memory and not state.use_same_buffer_for_input_output:
            yield Problem(path, "true without use_same_buffer_for_input_output", "both", "say the other, too")
