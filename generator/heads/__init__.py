"""Detector heads. One file a head: it decodes raw outputs to boxes and scores inside the graph, and once more in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from generator.detection import Answers, Candidates, Decoded
from generator.errors import SurgeryError
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generator.builder import Builder


class Head(Plugin):
    """A detector head: raw outputs -> boxes and scores of every candidate, in pixels of the model's input.

    `image` is the model's input, FP32 [batch, 3, height, width] with a fixed size. `outputs` are the raw outputs in the model's
    order; a head that takes them by name says so in its fields.
    """

    #: Code that is not ours and that tests hold `reference` against; empty: the docs call this head unproven.
    proven_by: ClassVar[str] = ""
    #: Does the head give at most one box a thing, so that nothing needs suppressing?
    needs_nms: ClassVar[bool] = True

    classes: Annotated[int, Field(ge=1, description="Number of classes, a background among them.")]

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Self]:  # noqa: ARG003 -- a head looks at what it needs
        """Filled in, every form of this head that raw outputs of these shapes may come from.

        Forms that shapes cannot tell apart are all given, so that nobody guesses; `candidates` is asked afterwards whether each
        does fit. `classes` is the number of labels, 0 where it is not known. None by default: the head has to be asked for.
        """
        return []

    def files(self) -> list[Path]:
        """Files that decide what the head does (their digests enter the cache key)."""
        return []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """What it will give. Raises SurgeryError with the shapes found and expected where it does not fit."""
        raise NotImplementedError

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Add the decoding to the graph."""
        raise NotImplementedError

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The same in plain NumPy, written apart from `append`."""
        raise NotImplementedError

    def misfit(self, outputs: tuple[Tensor, ...], expected: str) -> SurgeryError:
        """The error of a head that does not fit."""
        return SurgeryError(
            f"head {self.kind}: found outputs {', '.join(map(str, outputs))}; expected {expected}",
            "correct the head's fields, or use another head: docs/heads.md lists what each takes",
        )
