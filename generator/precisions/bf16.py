"""bf16: bfloat16, the upper half of a single-precision number."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from generator.bounds import Bounds
from generator.half import Half

#: Half of the distance from 1 to the next number: 8 bits of significand.
_ROUNDING = 2.0**-8


class Bf16Bounds(Bounds):
    """As follows from 8 bits of significand by the reasoning of `Fp16Bounds`, with u = 2**-8; fixed before anything was measured.

    16 u of the largest number of an output, twice that of a score, and two boxes a picture.
    """

    relative: Annotated[float, Field(ge=0)] = 2 * _ROUNDING
    of_largest: Annotated[float, Field(ge=0, description="Times the largest number of the tensor, added to `absolute`.")] = (
        16 * _ROUNDING
    )
    score: Annotated[float, Field(ge=0, description="Largest score difference of matched boxes or classes.")] = 32 * _ROUNDING
    unmatched: Annotated[int, Field(ge=0, description="Boxes a picture that may find no partner (IoU >= 0.9, same class).")] = 2


class Bf16(Half):
    """bfloat16, 8 bits and the range of fp32; inputs and outputs stay in fp32, for NumPy has no such type."""

    kind: Literal["bf16"] = "bf16"
    type: ClassVar[str] = "BFLOAT16"
    largest: ClassVar[float] = 3.3895313892515355e38
    rounding: ClassVar[float] = _ROUNDING
    #: Refused by the parser or builder of TensorRT for RTX 1.7.1, or without BF16 in onnx-tensorrt 10.1's docs/operators.md.
    refused: ClassVar[frozenset[str]] = frozenset(
        {"ConvTranspose", "DeformConv", "GRU", "GridSample", "HardSwish", "LpPool", "Mish", "RoiAlign"}
    )
    #: Conv, pooling, LSTM and others take bfloat16 from here on (ONNX operator changelog, version 22).
    opset: ClassVar[int] = 22

    bounds: Annotated[Bf16Bounds, Field(description="How far it may be from the checkpoint's own answer.")] = Bf16Bounds()

    def allowed(self) -> Bounds | None:
        """Its own."""
        return self.bounds
