"""Named arrays on their way between processes: several samples in one .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def write(path: Path, samples: Sequence[Arrays]) -> None:
    """Strings travel as text: pickles are neither written nor read."""
    flat = {f"{index}:{name}": _text(values) for index, sample in enumerate(samples) for name, values in sample.items()}
    with path.open("wb") as file:
        np.savez(file, count=np.array(len(samples)), **flat)


def read(path: Path) -> list[Arrays]:
    """What `write` wrote."""
    with np.load(path, allow_pickle=False) as file:
        found: list[Arrays] = [{} for _ in range(int(file["count"]))]
        for key in file.files:
            index, _, name = key.partition(":")
            if name:
                values = file[key]
                found[int(index)][name] = values.astype(object) if values.dtype.kind == "U" else values
    return found


def _text(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != np.dtype(object):
        return values
    plain = [item.decode() if isinstance(item, bytes) else str(item) for item in values.reshape(-1)]
    return np.array(plain, dtype=np.str_).reshape(values.shape)
