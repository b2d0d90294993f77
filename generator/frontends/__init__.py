"""Kinds of checkpoint. One file a kind: what it says of itself without running it, and how it becomes ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from generator.heads import Head
from generator.plugin import Plugin
from generator.tensors import Tensor

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Interface:
    """What is known of a model before it is loaded: its raw inputs and outputs, and its head where the file states it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    head: Head | None = None


class Frontend(Plugin):
    """A kind of checkpoint.

    `files`, `interface` and `tensors` are asked while the build is planned: they read, quickly, and run nothing of the
    checkpoint.
    `export`, `answer`, `samples` and `head` do the work, each in a child process.
    """

    #: Distributions whose versions decide what the export makes.
    libraries: ClassVar[tuple[str, ...]] = ()

    def files(self) -> list[Path]:
        """Every file that the model is made from (their digests enter the cache key)."""
        raise NotImplementedError

    def plugins(self) -> tuple[Plugin, ...]:
        """Other plug-ins in it, whose source decides the export, too."""
        return ()

    def interface(self) -> Interface | None:
        """Inputs and outputs, read without heavy libraries; None where they are known only once it is exported.

        Raises CheckpointError.
        """
        raise NotImplementedError

    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor inside the model whose type and shape can be read beforehand; nothing where there is no graph yet."""
        return {}

    def onnx_file(self) -> Path | None:
        """The checkpoint itself where it already is ONNX."""
        return None

    def prepare(self) -> None:
        """Whatever `export` and `answer` need that takes long and says so itself; asked before each, in the parent process."""

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Write the ONNX file; what is worth telling, `exporter` first. Raises CheckpointError, ExportError or ToolError."""
        raise NotImplementedError

    def head(self) -> Head | None:
        """How its raw outputs become boxes, where only the loaded checkpoint tells."""
        return None

    def labels(self) -> tuple[str, ...]:
        """The names of its classes, read like `interface`; none where the checkpoint does not name them."""
        return ()

    def preprocessing(self) -> Mapping[str, Any]:
        """What `preprocess:` says to do the same as its training, read like `interface`; {} where that is not known."""
        return {}

    def unordered(self) -> tuple[tuple[str, ...], ...]:
        """Groups of outputs [batch, rows, ...] whose rows are a set, in one order for the group: boxes that it chose itself."""
        return ()

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """The checkpoint's own outputs for inputs by name, and what computed them, such as `torch 2.13.0`."""
        raise NotImplementedError

    def samples(self, interface: Interface) -> list[Arrays]:
        """Seeded inputs that the model accepts: two sizes of batch, and two lengths of what else is free."""
        from generator import sampling

        return sampling.samples(interface)
