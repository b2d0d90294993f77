"""Precisions. One file a precision, written into the ONNX itself (TensorRT 11 knows strongly typed networks only)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from generator.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from generator.bounds import Bounds
    from generator.tensors import Tensor


class Precision(Plugin):
    """How the numbers inside the graph are held."""

    #: Does it leave the graph as it is? Then it is no step.
    trained: ClassVar[bool] = False

    def allowed(self) -> Bounds | None:
        """How far the graph in this precision, and what is served, may be from the checkpoint; None: as `verify.bounds` says."""
        return None

    def tensors(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the model takes and gives once it is in this precision; as before, unless the spec asks for other types."""
        return inputs, outputs

    def apply(self, graph: Path, made: Path, samples: Sequence[dict[str, NDArray[np.generic]]]) -> dict[str, str]:
        """Write `graph` (fp32, final: head and NMS in it) in this precision to `made`; what was done, in words.

        `samples` are inputs of the graph: real pictures where the spec has some, else seeded values.
        Raises SurgeryError.
        """
        raise NotImplementedError

    def oracle(self, graph: Path, scratch: Path) -> Path:
        """What ONNX Runtime's CPU provider is to run in place of `graph`, which `apply` made, where that does not run as it says.

        Another graph is written into the folder `scratch`.
        """
        return graph
