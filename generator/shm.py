"""How much shared memory a repository needs: the python backend moves every tensor through /dev/shm, and Docker gives 64 MB.

For each python model: instances x (base + max_batch_size x bytes of all inputs and outputs of one item x 2).
The 2 is for the batch that is being answered while the next one is written. What a config leaves free is assumed (see below).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator import pbtxt
from generator.errors import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tritonclient.grpc.model_config_pb2 import ModelConfig

MIB = 2**20
#: One element of a BYTES input: an encoded photo of a camera.
ELEMENT = 4 * MIB
#: One element of a BYTES output: a label.
LABEL = 256
#: The length of a dimension that the config leaves free (-1).
FREE = 1024
#: What every instance's stub takes for itself.
BASE = 8 * MIB
#: For the server itself, and because Docker's own default is as much.
MARGIN = 64 * MIB
_WIDTHS = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2, "UINT64": 8, "INT64": 8, "FP64": 8}


@dataclass(frozen=True)
class Need:
    """One python model's share, in bytes."""

    model: str
    instances: int
    batch: int
    item: int

    @property
    def bytes(self) -> int:
        """instances x (base + batch x item x 2)."""
        return self.instances * (BASE + self.batch * self.item * 2)

    def __str__(self) -> str:
        item = f"{self.item / MIB:.1f} MiB an item"
        return f"{self.model}: {self.instances} x ({BASE // MIB} MiB + {self.batch} x {item} x 2) = {self.bytes / MIB:.0f} MiB"


def configs(repository: Path) -> list[ModelConfig]:
    """Every model's config, by name. Raises RepositoryError where there is none, or one cannot be read."""
    if not repository.is_dir():
        raise RepositoryError(f"no such model repository: {repository}", "run `make repo` (or triton-repo build) first")
    found = [pbtxt.read(path) for path in sorted(repository.glob("*/config.pbtxt"))]
    if not found:
        raise RepositoryError(f"{repository} holds no model (no */config.pbtxt)", "run `make repo` (or triton-repo build) first")
    return found


def needs(models: Iterable[ModelConfig]) -> list[Need]:
    """The share of each model that runs on the python backend."""
    return [
        Need(model.name, _instances(model), max(1, model.max_batch_size), _item(model))
        for model in models
        if model.backend == "python"
    ]


def size_mib(shares: Iterable[Need]) -> int:
    """The sum and the margin, rounded up to 64 MiB."""
    total = MARGIN + sum(share.bytes for share in shares)
    return -(-total // (64 * MIB)) * 64


def _instances(model: ModelConfig) -> int:
    # a count holds for each GPU that is listed
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in model.instance_group) or 1


def _item(model: ModelConfig) -> int:
    from tritonclient.grpc.model_config_pb2 import DataType

    total = 0
    tensors = [(tensor, ELEMENT) for tensor in model.input] + [(tensor, LABEL) for tensor in model.output]
    for tensor, text in tensors:
        kind = DataType.Name(tensor.data_type).removeprefix("TYPE_")
        size = text if kind == "STRING" else _WIDTHS.get(kind, 4)
        for dim in tensor.dims:
            # a free number of strings is a batch or a list of labels, not a thousand photos
            size *= dim if dim > 0 else (1 if kind == "STRING" else FREE)
        total += size
    return total
