"""warp_and_resize of NanoDet with keep_ratio, the transform of its 0.x releases."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import nanodet
from conformance.nanodet import finish
from conformance.pictures import CASES
from conformance.source import find

ALL = CASES
version = nanodet.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    warp = runpy.run_path(str(find("nanodet/nanodet/data/transform/warp.py")))
    return finish(rgb, warp["warp_and_resize"]({"img": np.ascontiguousarray(rgb[..., ::-1])}, {}, (width, height), True))
