"""Lengths and values of inputs, as the YAML of a target says them for TensorRT's optimisation profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from generator.plugin import Model

_FORM = "[shortest, longest], [shortest, usual, longest] or one length"


class Span(Model):
    """Lengths of an axis: `[1, 64, 512]`, `[1, 512]` (the longest is the usual one), or `64` alone."""

    min: Annotated[int, Field(ge=1, description="The shortest.")]
    opt: Annotated[int, Field(ge=1, description="What the engine is made fastest for.")]
    max: Annotated[int, Field(ge=1, description="The longest.")]

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value]
        if isinstance(value, list | tuple):
            if not 1 <= len(value) <= 3:
                raise ValueError(f"found {list(value)}, expected {_FORM}")
            return {"min": value[0], "opt": value[-1] if len(value) < 3 else value[1], "max": value[-1]}
        return value

    @model_validator(mode="after")
    def _ascends(self) -> Span:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"found {self}, expected {_FORM}, each at least the one before it")
        return self

    def lengths(self) -> tuple[int, int, int]:
        """The three."""
        return self.min, self.opt, self.max

    def __str__(self) -> str:
        """As YAML says it."""
        return str(list(self.lengths()))


def _by_text(value: Any) -> Any:
    """`{1: [1, 512]}`: an axis may be called by its number."""
    return {str(key): span for key, span in value.items()} if isinstance(value, Mapping) else value


def _as_said(value: Any) -> Any:
    return value


#: How the spec says them: short or long.
SaidSpan = Annotated[Span, BeforeValidator(_as_said, json_schema_input_type=int | list[int] | Span)]
#: Said: axis, by its number or its name -> lengths.
Axes = Annotated[dict[str, SaidSpan], BeforeValidator(_by_text)]
#: Said of an input that is a shape: its smallest, usual and largest values.
Values = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class SaidProfile(Model):
    """One of several profiles; what it leaves out is as without it."""

    batch: Annotated[SaidSpan | None, Field(description="Sizes of batches; left out, 1 to max_batch_size.")] = None
    ranges: Annotated[dict[str, Axes], Field(description="Input -> axis -> lengths, inside those of the target.")] = Field(
        default_factory=dict
    )
