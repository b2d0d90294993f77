"""Ensembles: the graph of the steps by itself (core, src/model_config_utils.cc) and with its models (ensemble_utils.cc)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from generator.model_config import data_type
from generator.rules import Model, Problem, World, listed, rule

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelEnsembling, ModelInput

_UTILS = "core, src/model_config_utils.cc, ValidateEnsembleSchedulingConfig"
_GRAPH = "core, src/model_config_utils.cc, BuildEnsembleGraph"
_ENSEMBLE = "core, src/ensemble_scheduler/ensemble_utils.cc"
_MANAGER = "core, src/model_repository_manager/model_repository_manager.cc"
_NAME = 'platform: "ensemble"'


def is_ensemble(model: Model) -> bool:
    """Does it say steps?"""
    return bool(model.config.HasField("ensemble_scheduling"))


def steps(model: Model) -> list[tuple[str, ModelEnsembling.Step]]:
    """Field path and message of each step."""
    return [(f"ensemble_scheduling.step[{i}]", step) for i, step in enumerate(model.config.ensemble_scheduling.step)]


@rule("ensemble/platform", source=_UTILS)
def platform(model: Model, world: World) -> Iterator[Problem]:
    """Steps and the platform `ensemble` go together."""
    if is_ensemble(model) and model.config.platform != "ensemble":
        yield Problem("platform", repr(model.config.platform), "'ensemble', as the config has steps", f"say `{_NAME}`")
    if model.config.platform == "ensemble" and not is_ensemble(model):
        yield Problem("ensemble_scheduling", "no steps", "steps, as the platform is 'ensemble'", "say `ensemble_scheduling`")


@rule("ensemble/not_for_ensembles", source=_UTILS)
def not_for_ensembles(model: Model, world: World) -> Iterator[Problem]:
    """An ensemble has no instances, no optimisation and no warm-up of its own; its steps have."""
    if not is_ensemble(model):
        return
    config = model.said
    for name, said in (
        ("instance_group", bool(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("model_warmup", bool(config.model_warmup)),
    ):
        if said:
            yield Problem(name, "said for an ensemble", "nothing", f"remove it, and say it for the models of the steps: {name}")


@rule("ensemble/step", source=_GRAPH)
def step(model: Model, world: World) -> Iterator[Problem]:
    """There is a step, and each names a model and maps at least one input and one output."""
    if is_ensemble(model) and not steps(model):
        yield Problem("ensemble_scheduling.step", "none", "at least one step", "say which models to call")
    for path, found in steps(model):
        if not found.model_name:
            yield Problem(f"{path}.model_name", "nothing", "a model's name", "say `model_name`")
        if not found.input_map:
            yield Problem(f"{path}.input_map", "empty", "the step's inputs", "map each input to a tensor of the ensemble")
        if not found.output_map:
            yield Problem(f"{path}.output_map", "empty", "at least one output", "map the outputs that are used")


@rule("ensemble/written_twice", source=_GRAPH)
def written_twice(model: Model, world: World) -> Iterator[Problem]:
    """A tensor of the ensemble is written by one step's one output."""
    seen: dict[str, str] = {}
    for path, found in steps(model):
        for output, tensor in sorted(found.output_map.items()):
            if tensor in seen:
                what = f"{tensor!r}, which {seen[tensor]} writes, too"
                yield Problem(f"{path}.output_map[{output}]", what, "each tensor written once", "give one of them another name")
            seen[tensor] = path


class Flow(NamedTuple):
    """Which tensors of an ensemble are known, can be computed, and are read by a step that writes something."""

    known: frozenset[str]
    ready: frozenset[str]
    read: frozenset[str]
    #: Tensor -> those that it is computed from.
    made_from: Mapping[str, frozenset[str]]


def flow(config: ModelConfig) -> Flow:
    """Follow the data from the ensemble's inputs, as the server does."""
    made_from: dict[str, frozenset[str]] = {}
    read: set[str] = set()
    known: set[str] = set()
    for found in config.ensemble_scheduling.step:
        sources = frozenset(found.input_map.values())
        known |= sources | set(found.output_map.values())
        if found.output_map:
            read |= sources
        for tensor in found.output_map.values():
            made_from[tensor] = made_from.get(tensor, frozenset()) | sources
    ready = {tensor.name for tensor in config.input if tensor.name in known}
    while more := {tensor for tensor, sources in made_from.items() if tensor not in ready and sources and sources <= ready}:
        ready |= more
    return Flow(frozenset(known), frozenset(ready), frozenset(read), made_from)


@rule("ensemble/unused", source=_UTILS)
def unused(model: Model, world: World) -> Iterator[Problem]:
    """Every tensor is used: inputs by a step, outputs by the ensemble or a step."""
    if not is_ensemble(model) or not steps(model):
        return
    found = flow(model.config)
    for index, tensor in enumerate(model.config.input):
        if tensor.name not in found.known:
            read = listed(found.known, "a tensor that a step reads")
            yield Problem(f"input[{index}].name", f"{tensor.name!r}, which no step reads", read, "map it in a step, or remove it")
    outputs = {tensor.name for tensor in model.config.output}
    for path, item in steps(model):
        for output, tensor in sorted(item.output_map.items()):
            if tensor not in found.read and tensor not in outputs:
                expected = "a tensor that a step reads or the ensemble gives out"
                yield Problem(f"{path}.output_map[{output}]", f"{tensor!r}, which nothing uses", expected, "use it, or unmap it")


@rule("ensemble/not_written", source=_UTILS)
def not_written(model: Model, world: World) -> Iterator[Problem]:
    """What a step reads and the ensemble gives out is an input or is written by a step; no step waits for itself."""
    if not is_ensemble(model) or not steps(model):
        return
    found = flow(model.config)
    for index, tensor in enumerate(model.config.output):
        if tensor.name not in found.known:
            expected = listed(found.made_from, "a tensor that a step writes")
            yield Problem(f"output[{index}].name", f"{tensor.name!r}, which no step writes", expected, "map it in a step")
    circle = _circle(found)
    for path, item in steps(model):
        for name, tensor in sorted(item.input_map.items()):
            if tensor in found.ready:
                continue
            if tensor not in found.made_from:
                source = listed({*(t.name for t in model.config.input), *found.made_from})
                what = f"{tensor!r}, which no step writes and which is no input of the ensemble"
                yield Problem(f"{path}.input_map[{name}]", what, source, "correct the name, or add the input")
            elif tensor in circle:
                what = f"{tensor!r}, which is computed from itself: {' -> '.join(circle)}"
                yield Problem(f"{path}.input_map[{name}]", what, "no circle among the steps", "break the circle")


def _circle(found: Flow) -> list[str]:
    """Tensors that wait for each other, in a row; empty where none do."""
    waiting = [tensor for tensor in sorted(found.made_from) if tensor not in found.ready]
    for start in waiting:
        row = [start]
        while True:
            before = [t for t in sorted(found.made_from[row[-1]]) if t in found.made_from and t not in found.ready]
            if not before:
                break
            if before[0] in row:
                return [*row[row.index(before[0]) :], before[0]][::-1]
            row.append(before[0])
    return []


@rule("ensemble/model", source=f"{_MANAGER}, DependencyGraph::ConnectDependencyGraph")
def missing(model: Model, world: World) -> Iterator[Problem]:
    """The models of the steps are in the repository."""
    for path, found in steps(model):
        if found.model_name and found.model_name not in world.models and found.model_name not in world.broken:
            close = listed(sorted(set(world.models) - {model.name})[:8], "a model of this repository")
            yield Problem(f"{path}.model_name", f"no model {found.model_name!r}", close, "correct the name, or add the model")


@rule("ensemble/version", source=f"{_MANAGER}, CheckNode")
def version(model: Model, world: World) -> Iterator[Problem]:
    """A step that asks for a version asks for one that is there and that the model's version policy loads."""
    for path, found in steps(model):
        called = world.models.get(found.model_name)
        # 0 is what an unset field reads as: no version at all, and the server looks for version 0
        if called is None or found.model_version == -1 or not called.served or found.model_version in called.served:
            continue
        there = "is there, but the version policy does not load it" if found.model_version in called.versions else "is not there"
        expected = f"-1 for the latest, or one of {', '.join(map(str, called.served))}"
        yield Problem(f"{path}.model_version", f"{found.model_version}, which {there}", expected, "correct the version")


@rule("ensemble/circle", source=_MANAGER)
def circle(model: Model, world: World) -> Iterator[Problem]:
    """An ensemble does not call itself, directly or through another one."""
    trail = _trail(model, world, (model.name,))
    if trail:
        yield Problem("ensemble_scheduling.step", f"a circle: {' -> '.join(trail)}", "none", "call another model in one of them")


def _trail(model: Model, world: World, seen: tuple[str, ...]) -> tuple[str, ...]:
    for _, found in steps(model):
        if found.model_name == seen[0]:
            return (*seen, found.model_name)
        called = world.models.get(found.model_name)
        if called is not None and found.model_name not in seen:
            trail = _trail(called, world, (*seen, found.model_name))
            if trail:
                return trail
    return ()


@rule("ensemble/batch_size", source=f"{_ENSEMBLE}, ValidateEnsembleConfig")
def batch_size(model: Model, world: World) -> Iterator[Problem]:
    """No step that batches takes fewer than the ensemble."""
    wanted = model.config.max_batch_size
    for path, found in steps(model):
        called = world.models.get(found.model_name)
        if called is not None and 0 < called.config.max_batch_size < wanted:
            what = f"{wanted}, and {path} calls {called.name} with {called.config.max_batch_size}"
            yield Problem("max_batch_size", what, f"at most {called.config.max_batch_size}", "lower it, or raise the step's")


@rule("ensemble/mapping", source=f"{_ENSEMBLE}, ValidateTensorMapping")
def mapping(model: Model, world: World) -> Iterator[Problem]:
    """Steps map inputs and outputs that their model has, and every input that it needs."""
    for path, found in steps(model):
        called = world.models.get(found.model_name)
        if called is None:
            continue
        inputs, outputs = ({t.name: t for t in side} for side in (called.config.input, called.config.output))
        for kind, mapped, known in (("input", found.input_map, inputs), ("output", found.output_map, outputs)):
            for name in sorted(mapped):
                if name not in known:
                    what = f"{kind} {name!r}, which {called.name} does not have"
                    yield Problem(f"{path}.{kind}_map[{name}]", what, listed(known, f"no {kind} at all"), "correct the name")
        for name in sorted(found.output_map):
            if sum(tensor.name == name for tensor in called.config.output) > 1:
                what = f"output {name!r}, which {called.name} lists twice"
                yield Problem(f"{path}.output_map[{name}]", what, "an output listed once", f"remove one from {called.name}")
        for name, tensor in inputs.items():
            if name not in found.input_map and not tensor.optional:
                what = f"no tensor for input {name!r} of {called.name}"
                yield Problem(f"{path}.input_map", what, "every input that is not optional", f"map {name!r}")


class _Side(NamedTuple):
    """What one model says of a tensor of the ensemble."""

    where: str
    owner: str
    tensor: ModelInput
    dims: Sequence[int]
    batched: bool

    @property
    def full(self) -> list[int]:
        """The whole shape, the batch dimension included."""
        return [*([-1] if self.batched else []), *self.dims]

    def __str__(self) -> str:
        return f"{data_type(self.tensor.data_type)}{self.full} of {self.owner}"


@rule("ensemble/edge", source=f"{_ENSEMBLE}, ValidateTensorConsistency")
def edge(model: Model, world: World) -> Iterator[Problem]:
    """All who write and read a tensor agree on its type, and on its shape, the batch dimension counted."""
    first: dict[str, _Side] = {}
    for key, side in _sides(model, world):
        before = first.setdefault(key, side)
        if before.tensor.data_type != side.tensor.data_type:
            yield Problem(side.where, f"{key!r} as {side}", f"the same type as {before}", "convert it in a step between")
        elif not (_agree(before.dims, side.dims) or _agree(before.full, side.full)):
            yield Problem(side.where, f"{key!r} as {side}", f"the same shape as {before}", "correct the dims of one of them")


def _sides(model: Model, world: World) -> Iterator[tuple[str, _Side]]:
    """In the server's order: the ensemble's own inputs and outputs, then each step's."""
    batched = model.config.max_batch_size > 0
    for kind, own in (("input", model.config.input), ("output", model.config.output)):
        for index, tensor in enumerate(own if is_ensemble(model) else ()):
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            yield tensor.name, _Side(f"{kind}[{index}]", model.name, tensor, dims, batched)
    for path, found in steps(model):
        called = world.models.get(found.model_name)
        if called is None:
            continue
        for kind, mapped, has in (
            ("input", found.input_map, called.config.input),
            ("output", found.output_map, called.config.output),
        ):
            for tensor in has:
                if tensor.name in mapped:
                    where = f"{path}.{kind}_map[{tensor.name}]"
                    full = called.config.max_batch_size > 0
                    yield mapped[tensor.name], _Side(where, called.name, tensor, tensor.dims, full)


def _agree(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(-1 in (a, b) or a == b for a, b in zip(one, other, strict=True))


@rule("ensemble/decoupled", source=f"{_ENSEMBLE}, ValidateEnsembleConfig")
def decoupled(model: Model, world: World) -> Iterator[Problem]:
    """A step does not join answers of different decoupled models, whose numbers could differ."""
    if not is_ensemble(model):
        return
    streams = {tensor.name: 0 for tensor in model.config.input}
    waiting, count = steps(model), 0
    while ready := [item for item in waiting if all(tensor in streams for tensor in item[1].input_map.values())]:
        for path, found in ready:
            sources = Counter(streams[tensor] for tensor in found.input_map.values())
            if len(sources) > 1:
                yield Problem(
                    f"{path}.input_map", "tensors of different decoupled models", "of one", "join them outside the ensemble"
                )
                return
            stream = next(iter(sources), 0)
            called = world.models.get(found.model_name)
            if called is not None and is_decoupled(called, world):
                count += 1
                stream = count
            streams.update(dict.fromkeys(found.output_map.values(), stream))
        waiting = [item for item in waiting if item not in ready]
    ends = {streams[tensor.name] for tensor in model.config.output if tensor.name in streams}
    if len(ends) > 1:
        yield Problem("output", "outputs of different decoupled models", "of one", "serve them apart")


def is_decoupled(model: Model, world: World, seen: frozenset[str] = frozenset()) -> bool:
    """Does it answer a request with any number of responses? An ensemble does where a model of a step does."""
    if not is_ensemble(model):
        return bool(model.config.model_transaction_policy.decoupled)
    called = [world.models[found.model_name] for _, found in steps(model) if found.model_name in world.models]
    inside = seen | {model.name}
    return any(is_decoupled(step, world, inside) for step in called if step.name not in inside)


@rule("ensemble/decoupled_cache", source=f"{_ENSEMBLE}, ValidateEnsembleConfig, then ValidateModelConfig")
def decoupled_cache(model: Model, world: World) -> Iterator[Problem]:
    """An ensemble with a decoupled step has no response cache."""
    if is_ensemble(model) and model.config.response_cache.enable and is_decoupled(model, world):
        yield Problem("response_cache.enable", "true, and a step is decoupled", "false", "turn the cache off")


def refused_step(model: Model, refused: frozenset[str]) -> Problem | None:
    """The first step whose model is itself refused: then the ensemble is, too (CheckNode)."""
    for path, found in steps(model):
        if found.model_name in refused and found.model_name != model.name:
            return Problem(
                f"{path}.model_name", f"{found.model_name}, which is refused itself", "a model that loads", "correct that one"
            )
    return None
