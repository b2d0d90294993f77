"""A module as Triton's pytorch backend calls it: tensors by position, pixels normalised inside; and what it must answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from generator.export_proof import lengths
from generator.frontends import Arrays
from generator.tensors import BATCH

if TYPE_CHECKING:
    from generator.backends import Order
    from generator.exporters import Work
    from generator.flatten import Flat
    from generator.picture import Normalisation

#: Values of the largest sample; larger ones are left to the server.
_LARGEST = 2**23


class Served(torch.nn.Module):
    """Tensors by position in and out; a picture is UINT8 [batch, height, width, 3], a scalar a tensor of one element."""

    def __init__(self, flat: Flat, picture: Normalisation | None, scalars: tuple[bool, ...]) -> None:
        super().__init__()
        self.flat, self.picture, self.scalars = flat, picture, scalars
        self.mean: torch.Tensor
        self.std: torch.Tensor
        if picture is not None:
            self.register_buffer("mean", torch.from_numpy(_spread(picture.mean, picture)))
            self.register_buffer("std", torch.from_numpy(_spread(picture.std, picture)))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the module gives."""
        given = [x.reshape([]) if scalar else x for x, scalar in zip(tensors, self.scalars, strict=True)]
        if self.picture is not None:
            given[0] = self._normalised(given[0], self.picture)
        return tuple(out if out.dim() else out.reshape(1) for out in self.flat(*given))

    def _normalised(self, pixels: torch.Tensor, picture: Normalisation) -> torch.Tensor:
        """The formula of `passes/image_input.py`, in its order."""
        planes = pixels.permute(0, 3, 1, 2) if picture.layout == "NCHW" else pixels
        if picture.dtype == "UINT8":
            return planes.contiguous()
        values = (planes.to(torch.float32) * picture.scale - self.mean) / self.std
        return values.to(torch.float16) if picture.dtype == "FP16" else values


@dataclass(frozen=True)
class Trial:
    """One run: what the served model takes, what it must answer, and its sizes in words."""

    given: tuple[torch.Tensor, ...]
    answer: Arrays
    size: str


def trials(order: Order, work: Work) -> Iterator[Trial]:
    """Every size that the export tried, and a whole batch; pictures of the size that is served. Raises ExportError."""
    yield from _pictures(order, work, order.picture) if order.picture else _others(order, work)


def _pictures(order: Order, work: Work, picture: Normalisation) -> Iterator[Trial]:
    random, (name, *_) = np.random.default_rng(0), work.inputs
    shape = order.inputs[0].shape
    for rows in dict.fromkeys((2, 1, 3, max(1, order.max_batch_size))):
        if rows == 1 or rows * int(np.prod(shape)) <= _LARGEST:
            pixels = random.integers(0, 256, (rows, *shape), np.uint8)
            answer = work.flat.run({name: normalised(pixels, picture)})
            yield Trial((torch.from_numpy(pixels),), _lifted(answer), f"batch {rows}")


def _others(order: Order, work: Work) -> Iterator[Trial]:
    for feeds, size in zip(work.feeds, work.sizes, strict=True):
        yield _trial(work, feeds, size)
    full = {**work.sizes[0], BATCH: order.max_batch_size}
    values = sum(int(np.prod(one.sized(full))) for one in work.inputs.values())
    if order.max_batch_size and BATCH in work.sizes[0] and full not in work.sizes and values <= _LARGEST:
        random = np.random.default_rng(0)
        yield _trial(work, {name: one.values(random, full) for name, one in work.inputs.items()}, full)


def _trial(work: Work, feeds: Arrays, size: Any) -> Trial:
    given = tuple(torch.from_numpy(np.array(values).reshape(values.shape or (1,))) for values in feeds.values())
    return Trial(given, _lifted(work.flat.run(feeds)), lengths(size))


def _lifted(answer: Arrays) -> Arrays:
    return {name: values if values.ndim else values.reshape(1) for name, values in answer.items()}


def normalised(pixels: NDArray[np.uint8], picture: Normalisation) -> NDArray[Any]:
    """The same in NumPy, [batch, height, width, 3] in: what the module itself is asked with."""
    planes = pixels.transpose(0, 3, 1, 2) if picture.layout == "NCHW" else pixels
    if picture.dtype == "UINT8":
        return np.ascontiguousarray(planes)
    values = (planes.astype(np.float32) * np.float32(picture.scale) - _spread(picture.mean, picture)) / _spread(
        picture.std, picture
    )
    return np.ascontiguousarray(values, np.float16 if picture.dtype == "FP16" else np.float32)


def _spread(values: tuple[float, ...], picture: Normalisation) -> NDArray[np.float32]:
    """One number a channel, along the axis of channels."""
    return np.array(values, np.float32).reshape((1, -1, 1, 1) if picture.layout == "NCHW" else (1, 1, 1, -1))
