"""What tritonserver fills into a config before it judges it (core, src/model_config_utils.cc, GetNormalizedModelConfig)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def completed(said: ModelConfig, folder: str) -> ModelConfig:
    """A copy of `said` with the folder's name and the server's defaults filled in."""
    config = type(said)()
    config.CopyFrom(said)
    config.name = config.name or folder
    return config
