"""How far two rungs of the parity ladder may differ."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from generator.plugin import Model


class Bounds(Model):
    """How far two rungs of the parity ladder may differ; fixed here, before anything is measured.

    Tensors are compared by |a - b| <= absolute + relative * |a|, as numpy.testing.assert_allclose does. `of_largest` is for
    numbers held in fewer bits: their error is a share of the largest |a| of the tensor, wherever in it they lie.
    """

    pixels: Annotated[int, Field(ge=0, description="Levels of 255 between the server's pixels and the NumPy reference.")] = 1
    absolute: Annotated[float, Field(ge=0)] = 1e-4
    relative: Annotated[float, Field(ge=0)] = 1e-4
    of_largest: Annotated[float, Field(ge=0, description="Times the largest number of the tensor, added to `absolute`.")] = 0.0
    score: Annotated[float, Field(ge=0, description="Largest score difference of matched boxes or classes.")] = 1e-3
    unmatched: Annotated[int, Field(ge=0, description="Boxes a picture that may find no partner (IoU >= 0.9, same class).")] = 0
