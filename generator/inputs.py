"""What a model takes, said in YAML: named axes with ranges, types, and the values that are tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator

from generator.plugin import Model
from generator.tensors import BATCH, Tensor, numpy_dtype

Arrays = dict[str, NDArray[Any]]

#: Rows of the three samples: an example of two keeps a batch of one from being taken for a constant.
ROWS = (2, 1, 3)
#: The length of a free axis of which nothing is said, in the three samples.
_FREE = (64, 96, 32)

AxisName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Dim = Annotated[int, Field(ge=1)] | AxisName
Shape = tuple[Dim, ...]
#: What PyTorch and Triton both carry.
Dtype = Literal["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]


class Axis(Model):
    """How long a named axis may be: `[32, 512]`, or with more said."""

    min: Annotated[int, Field(ge=1, description="The shortest.")] = 1
    max: Annotated[int | None, Field(ge=1, description="The longest; left out, without limit.")] = None
    multiple_of: Annotated[int, Field(ge=1, description="Only whole multiples of it, such as 32 for a detector.")] = 1
    example: Annotated[int | None, Field(ge=1, description="The length that the export is made with.")] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(f"found {list(value)}, expected [shortest, longest]")
            return {"min": value[0], "max": value[1]}
        return value

    @model_validator(mode="after")
    def _has_lengths(self) -> Axis:
        if not self.lengths():
            step = f" in steps of {self.multiple_of}" if self.multiple_of > 1 else ""
            raise ValueError(f"no length lies between {self.min} and {self.max}{step}")
        if self.example is not None and not self.allows(self.example):
            raise ValueError(f"example {self.example} is no length that it allows")
        return self

    def allows(self, length: int) -> bool:
        """Is that a length it may have?"""
        return self.min <= length <= (self.max or length) and length % self.multiple_of == 0

    def lengths(self, turn: int = 0) -> tuple[int, ...]:
        """Those of the three samples: the example first, then others where there are any; `turn` counts axes of one model."""
        turned = _FREE[turn % 3 :] + _FREE[: turn % 3]
        wanted = turned if self.example is None else (self.example, self.example * 3 // 2, self.example // 2)
        found = [self._nearest(length) for length in wanted]
        if found[0] == found[1] != found[2]:
            found[1] = found[2]
        if len(set(found)) == 1:  # a narrow range: its neighbours, then its ends
            step = self.multiple_of
            others = (found[0] + step, found[0] - step, self._nearest(self.min), self._nearest(self.max or found[0]))
            found[1:] = [next((length for length in others if length > 0 and self.allows(length)), found[0])] * 2
        return tuple(found) if self.allows(found[0]) else ()

    def ends(self) -> tuple[int, int | None]:
        """The shortest and the longest that it says."""
        return self._nearest(self.min), self._nearest(self.max) if self.max else None

    def _nearest(self, length: int) -> int:
        step = self.multiple_of
        low, high = -(-self.min // step) * step, (self.max // step * step if self.max else None)
        length = max(low, round(length / step) * step)
        return min(length, high) if high is not None else length


class Input(Model):
    """One input: `[batch, 3, height, width]` for FP32, or with its type and the values that are tried."""

    dtype: Annotated[Dtype, Field(description="Its type, as Triton calls it.")] = "FP32"
    shape: Annotated[Shape, Field(description="A number is fixed, a name is free; `[]` is a scalar.")]
    range: Annotated[
        tuple[float, float] | None,
        Field(description="Values that it may have, such as [0, 30522] for tokens; whole types: below the end."),
    ] = None
    example: Annotated[
        Any, Field(description="What the export is made with: a number, or nested lists; `range` for other samples.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"shape": value} if isinstance(value, list | tuple) else value

    @field_validator("range")
    @classmethod
    def _ascends(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"found {list(value)}, expected [lowest, highest]")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Its free axes."""
        return tuple(dim for dim in self.shape if isinstance(dim, str))

    def tensor(self, name: str) -> Tensor:
        """As config.pbtxt sees it."""
        return tensor(name, self.dtype, self.shape)

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape with every free axis at its length."""
        return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.shape)

    def values(self, random: np.random.Generator, sizes: Mapping[str, int], first: bool = False) -> NDArray[Any]:
        """Seeded values of its type and shape. An example is the `first`, and all where no range is said."""
        kind, shape = np.dtype(numpy_dtype(self.dtype)), self.sized(sizes)
        if self.example is not None and (first or self.range is None):
            return np.broadcast_to(np.asarray(self.example, kind), shape).copy()
        low, high = self.range or (
            (0.0, 1.0) if kind.kind == "f" else (0, 256 if kind == np.uint8 else 2 if kind.kind == "b" else 8)
        )
        if kind.kind == "f":
            return np.asarray(random.uniform(low, high, shape)).astype(kind)
        return np.asarray(random.integers(int(low), int(high), shape)).astype(kind)


class Mask(Input):
    """Which words count: 1 for those, 0 for the padding behind them, as a batch of texts of several lengths has it."""

    def values(self, random: np.random.Generator, sizes: Mapping[str, int], first: bool = False) -> NDArray[Any]:
        """[batch, length]: the first row whole, the others cut at seeded places behind their first half."""
        rows, length = self.sized(sizes)
        ends = random.integers((length + 1) // 2, length + 1, rows)
        ends[0] = length
        return (np.arange(length) < ends[:, None]).astype(numpy_dtype(self.dtype))


class Output(Model):
    """One output: `[batch, 1000]` for FP32, or with its type."""

    dtype: Annotated[Dtype, Field(description="Its type, as Triton calls it.")] = "FP32"
    shape: Annotated[Shape, Field(description="A number is fixed, a name is free.")]

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"shape": value} if isinstance(value, list | tuple) else value

    def tensor(self, name: str) -> Tensor:
        """As config.pbtxt sees it."""
        return tensor(name, self.dtype, self.shape)


def _as_said(value: Any) -> Any:
    return value


#: How the spec says them: short or long.
SaidInput = Annotated[Input, BeforeValidator(_as_said, json_schema_input_type=list[int | str] | Input)]
SaidOutput = Annotated[Output, BeforeValidator(_as_said, json_schema_input_type=list[int | str] | Output)]
SaidAxis = Annotated[Axis, BeforeValidator(_as_said, json_schema_input_type=list[int] | Axis)]


def tensor(name: str, dtype: str, shape: Shape) -> Tensor:
    """A tensor with named axes as Triton sees it: only a first axis called `batch` is a batch."""
    batched = shape[:1] == (BATCH,)
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in shape)
    return Tensor(name, dtype, dims[1:] if batched else dims, batched)


def axis_names(inputs: Mapping[str, Input]) -> tuple[str, ...]:
    """Every free axis, the batch among them, in the order in which they are met."""
    return tuple(dict.fromkeys(name for one in inputs.values() for name in one.names))


def sizes(inputs: Mapping[str, Input], axes: Mapping[str, Axis]) -> list[dict[str, int]]:
    """Lengths of every free axis for the three samples: that of the export first, then two others."""
    rows = axes[BATCH].lengths() if BATCH in axes else ROWS
    others = [name for name in axis_names(inputs) if name != BATCH]  # of different lengths, so that none is taken for another
    lengths = {name: rows if name == BATCH else axes.get(name, Axis()).lengths(others.index(name)) for name in axis_names(inputs)}
    return [{name: of[index] for name, of in lengths.items()} for index in range(len(ROWS))]


def ends(inputs: Mapping[str, Input], axes: Mapping[str, Axis]) -> list[dict[str, int]]:
    """Lengths at both ends of every range that is said, the others as in the example; what `sizes` has is left out."""
    known = sizes(inputs, axes)
    said = {name: axes[name].ends() for name in axis_names(inputs) if name in axes}
    shortest = {**known[0], **{name: low for name, (low, _) in said.items()}}
    longest = {**known[0], **{name: high for name, (_, high) in said.items() if high is not None}}
    return [size for size in (shortest, longest) if size not in known]


def samples(inputs: Mapping[str, Input], axes: Mapping[str, Axis]) -> list[Arrays]:
    """Three seeded sets of inputs of different sizes; one where nothing varies."""
    random, wanted = np.random.default_rng(0), sizes(inputs, axes)
    return [
        {name: one.values(random, each, first=index == 0) for name, one in inputs.items()}
        for index, each in enumerate(wanted if _several(inputs) else wanted[:1])
    ]


def _several(inputs: Mapping[str, Input]) -> bool:
    """Is there anything that other samples would vary?"""
    return bool(axis_names(inputs)) or any(one.example is not None and one.range is not None for one in inputs.values())
