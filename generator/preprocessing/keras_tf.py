"""keras_tf: what Keras applications of mode "tf" are shown."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class KerasTf(Stretched):
    """Stretch of Keras' load_img(target_size): nearest pixel by default; levels of -1 to 1 (MobileNet, Xception, ResNetV2)."""

    kind: Literal["keras_tf"] = "keras_tf"
    imitates = Imitates(
        code='keras.utils.load_img, keras.applications.imagenet_utils.preprocess_input(mode="tf")',
        source="https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py",
        proven="keras 3.15.1, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "interpolation": "nearest",
        "antialias": True,
        "scale": 1 / 127.5,
        "mean": (1.0, 1.0, 1.0),
    }
