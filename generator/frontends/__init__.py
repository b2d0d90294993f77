"""Kinds of checkpoint. One file a kind: what it says of itself without running it, and how it becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.heads import Head
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Interface:
    """What is known of a model before it is loaded: its raw inputs and outputs, and its head where the file states it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    head: Head | None = None


class Frontend(Plugin):
    """A kind of checkpoint.

    It gives either a PyTorch module (`module`), which the exporter turns into ONNX, or the ONNX file itself (`onnx_file`).
    """

    def files(self) -> list[Path]:
        """Every file that the model is made from (their digests enter the cache key)."""
        raise NotImplementedError

    def interface(self) -> Interface:
        """Inputs and outputs, read without torch and without running code from the checkpoint. Raises CheckpointError."""
        raise NotImplementedError

    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor inside the model whose type and shape can be read beforehand; nothing where there is no graph yet."""
        return {}

    def onnx_file(self) -> Path | None:
        """The checkpoint itself where it already is ONNX."""
        return None

    def module(self) -> torch.nn.Module:
        """The trained model in eval mode, one tensor out for each of `interface().outputs`. Runs in a child process."""
        raise NotImplementedError
