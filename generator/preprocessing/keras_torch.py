"""keras_torch: what Keras applications of mode "torch" are shown."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class KerasTorch(Stretched):
    """Stretch of Keras' load_img(target_size): nearest pixel by default; ImageNet's mean and std (DenseNet)."""

    kind: Literal["keras_torch"] = "keras_torch"
    imitates = Imitates(
        code='keras.utils.load_img, keras.applications.imagenet_utils.preprocess_input(mode="torch")',
        source="https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py",
        proven="keras 3.15.1, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "interpolation": "nearest",
        "antialias": True,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
