"""What tritonserver fills into a config before it judges it.

Two stages, as in the server: names of backend, platform and model file from each other and from the first version folder (core,
src/model_config_utils.cc, AutoCompleteBackendFields; always), then inputs and outputs from the model file where the backend does
that (`--disable-auto-complete-config` turns it off).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from generator.tensors import config_dtype

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.rules import Signature


class Known(NamedTuple):
    """A backend that the server's core knows by name, its platform and its model file."""

    backend: str
    platform: str
    filename: str


#: Platforms that came with server 2.67 (core, commit of 2026-03-05).
SINCE_2_67 = ("libtorch", "torch_aoti")
#: In the order in which the server tries them; the two TensorFlow layouts come first and go by platform.
KNOWN = (
    Known("tensorflow", "tensorflow_savedmodel", "model.savedmodel"),
    Known("tensorflow", "tensorflow_graphdef", "model.graphdef"),
    Known("tensorrt", "tensorrt_plan", "model.plan"),
    Known("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    Known("openvino", "", "model.xml"),
    Known("pytorch", "pytorch_libtorch", "model.pt"),
    Known("pytorch", "libtorch", "model.pt"),
    Known("pytorch", "torch_aoti", "model.pt2"),
    Known("python", "", "model.py"),
)
#: What onnxruntime's auto-completion sets where the file has a free first dimension (server option default-max-batch-size).
DEFAULT_MAX_BATCH_SIZE = 4
_ENSEMBLE = "ensemble"


def completed(said: ModelConfig, folder: str, files: Iterable[str] = (), folders: Iterable[str] = ()) -> ModelConfig:
    """A copy of `said` with name, backend, platform and model file as the server fills them in.

    `files` and `folders` are paths inside the model folder. Where the server finds no backend the field stays empty.
    """
    config = type(said)()
    config.CopyFrom(said)
    config.name = config.name or folder
    content = _first_version(files, folders)
    for known in KNOWN:
        if _applies(config, known, content):
            _fill(config, known)
            return config
    if not (config.backend or config.platform or config.default_model_filename) and "." in folder:
        config.backend = folder.partition(".")[2]
        config.default_model_filename = f"model.{config.backend}"
    return config


def _first_version(files: Iterable[str], folders: Iterable[str]) -> set[str]:
    """What lies in the first sub-folder by name: the server looks nowhere else."""
    first = min((name for name in folders if "/" not in name), default=None)
    if first is None:
        return set()
    inside = [path for path in (*files, *folders) if path.startswith(f"{first}/")]
    return {path.split("/")[1] for path in inside}


def _applies(config: ModelConfig, known: Known, content: set[str]) -> bool:
    if known.backend == "tensorflow":
        return _tensorflow(config, known, content)
    if config.backend:
        return bool(config.backend == known.backend)
    if known.platform and config.platform == known.platform:
        return True
    if config.default_model_filename:
        return bool(config.default_model_filename == known.filename)
    return not config.platform and known.filename in content


def _tensorflow(config: ModelConfig, known: Known, content: set[str]) -> bool:
    if config.platform:
        return bool(config.platform == known.platform)
    if config.backend not in ("", "tensorflow"):
        return False
    name = config.default_model_filename
    return name == known.filename if name else known.filename in content


def _fill(config: ModelConfig, known: Known) -> None:
    config.backend = config.backend or known.backend
    config.platform = config.platform or known.platform
    config.default_model_filename = config.default_model_filename or known.filename


def from_signature(config: ModelConfig, signature: Signature | None) -> None:
    """Fill in what the onnxruntime backend reads from the file where inputs or outputs are left out altogether.

    As onnxruntime_backend, src/onnxruntime.cc, AutoCompleteConfig, AutoCompleteMaxBatch and AutoCompleteIO.
    """
    given = len(config.input) + len(config.batch_input)
    if config.backend != "onnxruntime" or signature is None or (given and config.output):
        return
    if config.max_batch_size == 0 and all(tensor.batched for tensor in (*signature.inputs, *signature.outputs)):
        config.max_batch_size = DEFAULT_MAX_BATCH_SIZE
    for target, found in ((config.input, signature.inputs), (config.output, signature.outputs)):
        for tensor in found if not len(target) else ():
            dims = [-1, *tensor.shape] if tensor.batched and not config.max_batch_size else list(tensor.shape)
            added = target.add(name=tensor.name, data_type=config_dtype(tensor.dtype), dims=dims or [1])
            if not dims and config.max_batch_size:
                added.reshape.SetInParent()
