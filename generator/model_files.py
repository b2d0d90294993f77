"""What a model file says of its own inputs and outputs, read without its weights and without running code from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from generator import onnx_signature, openvino_signature
from generator.errors import CheckpointError

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.onnx_signature import OnnxFile
    from generator.openvino_signature import IrFile
    from generator.rules import Files, Signature


def path_of(config: ModelConfig, files: Files, version: int) -> Path | None:
    """The model file of that version; None where it is not there (yet)."""
    return files.get(f"{version}/{config.default_model_filename}") or files.get(
        f"{version}/{config.default_model_filename}/{config.default_model_filename}"
    )


def onnx(config: ModelConfig, files: Files, version: int) -> OnnxFile | None:
    """What an onnxruntime model's file says; None for other backends and where there is no file. Raises CheckpointError."""
    path = path_of(config, files, version)
    return onnx_signature.read(path) if path is not None and config.backend == "onnxruntime" else None


def openvino(config: ModelConfig, files: Files, version: int) -> IrFile | None:
    """An openvino model's IR; None for other backends and formats, and where there is no file. Raises CheckpointError."""
    path = files.get(f"{version}/{config.default_model_filename}")
    return openvino_signature.read(path) if path is not None and config.backend == "openvino" and path.suffix == ".xml" else None


def signature(config: ModelConfig, files: Files, version: int) -> Signature | None:
    """Inputs and outputs of the model's file of that version; None where it does not tell or cannot be read."""
    found: OnnxFile | IrFile | None
    try:
        found = onnx(config, files, version) or openvino(config, files, version)
    except CheckpointError:
        return None  # rules onnx/file and openvino/file say so
    return found.signature if found else None
