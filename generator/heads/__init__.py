"""Detector heads. One file a head: it decodes raw outputs to boxes and scores inside the graph, and once more in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import NDArray

from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

    from generator.builder import Builder


class Head(Plugin):
    """A detector head: raw outputs -> boxes [batch, N, 4] (x1, y1, x2, y2 in input pixels) and scores [batch, N, C]."""

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[int, int]:
        """(N, C): boxes a picture and classes. Raises SurgeryError with the shapes found and expected where it does not fit."""
        raise NotImplementedError

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[str, str]:
        """Add the decoding to the graph; returns the names of the tensors boxes and scores."""
        raise NotImplementedError

    def reference(
        self, image: Tensor, outputs: dict[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same in plain NumPy: boxes [batch, N, 4] and scores [batch, N, C]."""
        raise NotImplementedError
