"""What the makers of Keras' modes share: load_img and preprocess_input (Keras 3 on its PyTorch backend; no TensorFlow)."""

from __future__ import annotations

import importlib
import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray


def version() -> str:
    """Of the package, and of Pillow."""
    from importlib.metadata import version

    return f"keras {version('keras')}, Pillow {version('pillow')}"


def make(mode: str, rgb: NDArray[np.uint8], height: int, width: int, **said: Any) -> tuple[Any, tuple[float, ...]]:
    """The tensor, its channels brought to the front; classifiers have no boxes."""
    from PIL import Image

    os.environ["KERAS_BACKEND"] = "torch"
    utils = importlib.import_module("keras.utils")
    before = importlib.import_module("keras.src.applications.imagenet_utils").preprocess_input
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    file.seek(0)
    name = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[said.get("interpolation", "nearest")]
    loaded = utils.img_to_array(utils.load_img(file, target_size=(height, width), interpolation=name))
    tensor = before(np.array(loaded[None]), data_format="channels_last", mode=mode)[0]
    return np.asarray(tensor).transpose(2, 0, 1), (np.nan,) * 4
