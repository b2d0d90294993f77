"""Which detector heads raw outputs may come from, told by their shapes; each head says so itself (`Head.fits`)."""

from __future__ import annotations

import yaml

from generator.errors import SurgeryError
from generator.heads import Head
from generator.plugin import family
from generator.tensors import Tensor


def fitting(image: Tensor, outputs: tuple[Tensor, ...], classes: int = 0) -> list[Head]:
    """Every head that takes these outputs, filled in, in the order of their kinds.

    `image` is the model's input, FP32 [batch, 3, height, width] of a fixed size. `classes` is the number of labels, 0 where it
    is not known; a head may have one class more where that is its background.
    """
    if len(image.shape) != 3 or min(image.shape) < 1:
        return []
    found = []
    for kind in family("generator.heads").values():
        assert issubclass(kind, Head)
        found += [head for head in _offered(kind, image, outputs, classes) if _takes(head, image, outputs, classes)]
    return found


def _offered(kind: type[Head], image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Head]:
    try:
        return list(kind.fits(image, outputs, classes))
    except ValueError:  # pydantic's: an output of a free size gave counts that no head can have
        return []


def _takes(head: Head, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> bool:
    try:
        counted = head.candidates(image, outputs)
    except SurgeryError:
        return False
    return classes in {0, counted.classes, counted.classes - (counted.background is not None)}


def line(head: Head) -> str:
    """As the spec says it: `head: {kind: ..., ...}`."""
    said = {"kind": head.kind, **head.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})}
    return f"head: {yaml.safe_dump(said, default_flow_style=True, sort_keys=False, width=10**6).strip()}"
