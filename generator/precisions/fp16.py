"""fp16: half precision, IEEE 754 binary16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.bounds import Bounds
from generator.half import Ends, Half, converted

if TYPE_CHECKING:
    import onnx_ir as ir

    from generator.tensors import Tensor

#: Half of the distance from 1 to the next number: 11 bits of significand.
_ROUNDING = 2.0**-11


class Fp16Bounds(Bounds):
    """As follows from 11 bits of significand; fixed before anything was measured.

    One rounding changes a number by at most u = 2**-11 of it. Along a path of L roundings that know nothing of each other such
    changes add up like a random walk, to u * sqrt(L) of the tensor's scale (Higham and Mary, "A new approach to probabilistic
    rounding error analysis", SIAM J. Sci. Comput. 41, 2019). With L = 256 in a row, a deep network, that is 16 u of the largest
    number of an output. A score is a sigmoid (slope at most 1/4) of a logit that reaches about 8: twice that. A box may move by
    as much of its size, which can decide between two boxes that overlap: one a picture.
    """

    relative: Annotated[float, Field(ge=0)] = 2 * _ROUNDING
    of_largest: Annotated[float, Field(ge=0, description="Times the largest number of the tensor, added to `absolute`.")] = (
        16 * _ROUNDING
    )
    score: Annotated[float, Field(ge=0, description="Largest score difference of matched boxes or classes.")] = 32 * _ROUNDING
    unmatched: Annotated[int, Field(ge=0, description="Boxes a picture that may find no partner (IoU >= 0.9, same class).")] = 1


class Fp16(Half):
    """Half precision, 11 bits and up to 65504; what would overflow, head and NMS stay in fp32."""

    kind: Literal["fp16"] = "fp16"
    type: ClassVar[str] = "FLOAT16"
    largest: ClassVar[float] = 65504.0
    rounding: ClassVar[float] = _ROUNDING

    inputs: Annotated[Ends, Field(description="`keep` in fp32, `convert` to fp16, or the names of those to convert.")] = "keep"
    outputs: Annotated[Ends, Field(description="As `inputs`.")] = "keep"
    bounds: Annotated[Fp16Bounds, Field(description="How far it may be from the checkpoint's own answer.")] = Fp16Bounds()

    def tensors(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """FP16 where the spec says so. Raises SurgeryError where it names what is not there in FP32."""
        return converted(inputs, self.inputs, "input", "FP16"), converted(outputs, self.outputs, "output", "FP16")

    def allowed(self) -> Bounds | None:
        """Its own."""
        return self.bounds

    def _ends(self, graph: ir.Graph) -> tuple[frozenset[str], frozenset[str]]:
        from generator.half_slots import single

        sides = ((graph.inputs, self.inputs), (graph.outputs, self.outputs))
        found = [
            frozenset(v.name for v in values if v.name and single(v) and said != "keep" and (said == "convert" or v.name in said))
            for values, said in sides
        ]
        return found[0], found[1]
