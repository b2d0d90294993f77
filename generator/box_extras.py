"""What else a head gives for each box: key points, mask coefficients, an angle, in the channels behind the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from generator.heads import Head
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class ExtrasHead(Head):
    """A head whose boxes may bring more than a class: each is an output of its own that follows the boxes that are kept."""

    keypoints: Annotated[
        tuple[int, int] | None,
        Field(description="Key points a box, and values of each: 2 (x, y) or 3 (and visibility): det_keypoints, input pixels."),
    ] = None
    masks: Annotated[int, Field(ge=0, description="Mask coefficients a box: det_masks.")] = 0
    prototypes: Annotated[
        str | None, Field(description="The output that masks are made of with the coefficients; it goes through as it is.")
    ] = None
    angle: Annotated[
        bool,
        Field(description="Whether boxes are turned: det_angle, radians. det_boxes and suppression take them upright."),
    ] = False

    @property
    def extras(self) -> tuple[Tensor, ...]:
        """In the order of the channels."""
        found = [Tensor("keypoints", "FP32", self.keypoints)] if self.keypoints else []
        found += [Tensor("masks", "FP32", (self.masks,))] if self.masks else []
        return (*found, *((Tensor("angle", "FP32", ()),) if self.angle else ()))

    @property
    def extra_sizes(self) -> list[int]:
        """Channels of each."""
        return [int(np.prod(extra.shape)) for extra in self.extras]

    def passed(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The prototypes. Raises SurgeryError where no output is called so."""
        found = tuple(tensor for tensor in outputs if tensor.name == self.prototypes)
        if self.prototypes and not found:
            raise self.misfit(outputs, f"one called {self.prototypes!r} (prototypes)")
        return found

    def append_extras(self, build: Builder, names: list[str], axis: int) -> dict[str, str]:
        """Each as the NMS takes it, from [batch, channels, boxes] with `axis` 1, else [batch, boxes, channels]."""
        found = {}
        for extra, name in zip(self.extras, names, strict=True):
            rows = build("Transpose", name, perm=[0, 2, 1]) if axis == 1 else name
            found[extra.name] = build("Reshape", rows, np.array([0, 0, *extra.shape])) if len(extra.shape) != 1 else rows
        return found

    def extra_arrays(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The same in NumPy, from [batch, boxes, channels of all]."""
        parts = np.split(values, np.cumsum(self.extra_sizes)[:-1], axis=2) if self.extras else []
        return {e.name: part.reshape(*part.shape[:2], *e.shape) for e, part in zip(self.extras, parts, strict=True)}
