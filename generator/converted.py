"""What all kinds of checkpoint share that another framework's converter turns into ONNX, in an environment of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import environment, file_kind, sampling
from generator import inputs as inputs_
from generator.environment import Environment
from generator.errors import CheckpointError, ExportError
from generator.fields import Name, SpecFile
from generator.frontends import Arrays, Frontend, Interface
from generator.inputs import SaidAxis, SaidInput
from generator.tensors import BATCH, Tensor

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from generator.converter import Converter

#: Rows of the three samples that verification asks for, and what other free axes have then.
_ROWS = (8, 1, 3)
_LENGTHS = (8, 8, 12)
#: The share of values on which a converted graph may be far from its framework: a value on the very edge of a tree's split.
_STRAY = 0.02


def decides(packages: str, *scripts: str) -> tuple[str, ...]:
    """What a kind's `sources` are: its packages, the converter's files, and this side of them."""
    own = (f"../environments/{packages}.txt", "../converters/child.py", "../converter.py", "../environment.py")
    return (*own, *(f"../converters/{script}" for script in scripts))


class Converted(Frontend):
    """A checkpoint of another framework, converted and asked in a child process with that framework's own packages."""

    #: The list in generator/environments, and the program in generator/converters.
    packages: ClassVar[str]
    script: ClassVar[str]
    #: Rows with which a converted graph is held against the framework before the export counts as done.
    proof: ClassVar[tuple[int, ...]] = (4, 1)
    #: What else a file of this kind may look like.
    alike: ClassVar[tuple[str, ...]] = ()

    inputs: Annotated[
        dict[Name, SaidInput],
        Field(description="Values that are tried: `{dtype: INT32, shape: [batch, 12], range: [0, 5000]}`."),
    ] = Field(default_factory=dict)
    axes: Annotated[dict[str, SaidAxis], Field(description="Lengths that free axes named in `inputs` may have.")] = Field(
        default_factory=dict
    )
    requirements: Annotated[
        SpecFile | None,
        Field(description="The converter's packages, as pip reads them, in place of the tested ones (docs/converters.md)."),
    ] = None

    def checkpoint(self) -> Path:
        """The file or folder that the message names where it is of another kind."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What the converter's program is told."""
        return self.model_dump(mode="json", exclude={"kind", "inputs", "axes", "requirements"})

    def prepare(self) -> None:
        """Make the environment, which may take minutes. Raises ToolError."""
        environment.ensure(self._environment())

    def files(self) -> list[Path]:
        """The checkpoint, and the user's own list of packages."""
        return [self.checkpoint(), *([self.requirements] if self.requirements else [])]

    def interface(self) -> Interface | None:
        """Known only once it is converted. Raises CheckpointError for a file that is plainly of another kind."""
        found = file_kind.of(self.checkpoint())
        if found is not None and found.kind not in (self.kind, *self.alike):
            remedy = f"say `kind: {found.kind}`" if found.kind else found.remedy or "is this the right file?"
            raise CheckpointError(f"{self.checkpoint()}: not for kind {self.kind}: it looks like {found.phrase}", remedy)
        return None

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Through the converter; then the graph is held against the framework, for converters err without a word."""
        from generator import graph

        said: dict[str, str] = self._converter().ask("export", opset=opset, output=str(path))
        model = graph.load(path)
        self._name_axes(model)
        graph.save(model, path)
        return {**said, "held against": self._held(path, Interface(*graph.interface(model)), said["exporter"])}

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """The framework's own."""
        with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
            given, answer = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
            with given.open("wb") as file:
                np.savez(file, **{name: _plain(values) for name, values in feeds.items()})
            said = self._converter().ask("answer", feeds=str(given), output=str(answer))
            with np.load(answer, allow_pickle=False) as found:
                return {name: _objects(found[name]) for name in found.files}, said["by"]

    def samples(self, interface: Interface) -> list[Arrays]:
        """Seeded: where the spec says values, those; else where the model's own trees split; else as its types suggest."""
        return self._samples(interface, _ROWS)

    def _environment(self) -> Environment:
        return Environment(self.packages, self.requirements)

    def _converter(self) -> Converter:
        from generator import converter

        said = json.dumps(self.settings())  # columns keep their order
        return converter.of(str(environment.ensure(self._environment())), self.script, said)

    def _samples(self, interface: Interface, rows: Sequence[int]) -> list[Arrays]:
        self._known(interface)
        ranges = self._converter().ask("ranges")
        sizes, random = inputs_.sizes(self.inputs, self.axes), np.random.default_rng(0)
        found = []
        for index, count in enumerate(rows):
            axes = {**sizes[index], BATCH: count}
            found.append({t.name: self._values(t, ranges, random, axes, _LENGTHS[index]) for t in interface.inputs})
        return found

    def _values(
        self, tensor: Tensor, ranges: dict[str, Any], random: np.random.Generator, axes: dict[str, int], length: int
    ) -> NDArray[Any]:
        if tensor.name in self.inputs:
            return self.inputs[tensor.name].values(random, axes)
        shape = (axes[BATCH], *(length if dim < 0 else dim for dim in tensor.shape))
        said = ranges.get(tensor.name)
        if said is None or not tensor.batched:
            return sampling.values(random, tensor, axes[BATCH], length)
        if not isinstance(said[0], list):
            return np.array([random.choice(said) for _ in range(axes[BATCH])], dtype=object).reshape(shape)
        low, high = np.array(said, np.float64).T
        return np.asarray(random.uniform(low, high, shape)).astype(np.float32)

    def _known(self, interface: Interface) -> None:
        names = [tensor.name for tensor in interface.inputs]
        for name, one in self.inputs.items():
            if name not in names:
                raise CheckpointError(
                    f"inputs: the model has no input {name!r}", f"it has {', '.join(map(str, interface.inputs))}"
                )
            tensor = next(t for t in interface.inputs if t.name == name)
            if not tensor.accepts(one.tensor(name)):
                raise CheckpointError(f"inputs: {one.tensor(name)}; the model takes {tensor}", "correct its shape or type")

    def _name_axes(self, model: ModelProto) -> None:
        """A first axis that is free in all inputs is the batch; others are called by their tensor, or as the spec does."""
        constants = {init.name for init in model.graph.initializer}
        taken = [value for value in model.graph.input if value.name not in constants]
        first = [value.type.tensor_type.shape.dim[:1] for value in taken]
        batched = all(dims and not dims[0].HasField("dim_value") for dims in first)
        for value in (*taken, *model.graph.output):
            said = self.inputs[value.name].shape if value.name in self.inputs else ()
            _named(value, batched, [str(dim) for dim in said])
        del model.graph.value_info[:]  # in the converter's own names of axes; ours are inferred anew

    def _held(self, path: Path, interface: Interface, exporter: str) -> str:
        """What it was held against. Raises ExportError where the graph computes something else than the framework."""
        from generator import graph

        session, by, far = graph.session(path, optimise=False), "", 0.0
        for sample in self._samples(interface, self.proof):
            try:
                expected, by = self.answer(sample)
            except ExportError as error:
                raise ExportError(f"the model rejects the values that were tried: {error.message}", self._say_values()) from None
            found = graph.run(session, sample)
            for name, values in expected.items():
                far = max(far, _far(name, values, found[name], by))
        if far > _STRAY:
            what = f"{exporter} made a graph that computes something else than {by}: {far:.0%} of the values are far off"
            raise ExportError(what, "a mistake of the converter: tell its makers, or export the model to ONNX yourself")
        return by

    def _say_values(self) -> str:
        return "say what it takes: `inputs: {NAME: {dtype: INT32, shape: [batch, 12], range: [0, 5000]}}`"


def _named(value: ValueInfoProto, batched: bool, said: list[str]) -> None:
    for index, dim in enumerate(value.type.tensor_type.shape.dim):
        if not dim.HasField("dim_value"):
            own = said[index] if index < len(said) else f"{value.name}_{index}"
            dim.dim_param = BATCH if batched and not index else own


def _far(name: str, expected: NDArray[Any], found: NDArray[Any], by: str) -> float:
    """The share of values that differ by more than a hundredth; of 8-bit numbers by more than two steps, of others at all."""
    if expected.shape != found.shape or expected.dtype.kind != found.dtype.kind:
        what = f"{name} is {found.dtype}{list(found.shape)}; {by} gives {expected.dtype}{list(expected.shape)}"
        raise ExportError(f"the converted graph does not give what the model gives: {what}", "a mistake of the converter")
    if expected.dtype.kind == "f":
        a, b = expected.astype(np.float64), found.astype(np.float64)
        off = ~(np.isclose(a, b, rtol=0.01, atol=0.01, equal_nan=True))
    elif expected.dtype.itemsize == 1 and expected.dtype.kind in "iu":
        off = np.abs(expected.astype(np.int64) - found.astype(np.int64)) > 2
    else:
        off = expected != found
    return float(np.mean(off)) if off.size else 0.0


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Texts as texts: pickles are neither written nor read."""
    if values.dtype != np.dtype(object):
        return values
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in values.reshape(-1)]
    return np.array(texts, dtype=np.str_).reshape(values.shape)


def _objects(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "U" else values
