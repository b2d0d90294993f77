"""keras_caffe: what Keras applications of mode "caffe" are shown."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class KerasCaffe(Stretched):
    """Stretch of Keras' load_img(target_size): nearest pixel by default; BGR, mean taken off levels of 0 to 255 (ResNet, VGG)."""

    kind: Literal["keras_caffe"] = "keras_caffe"
    imitates = Imitates(
        code='keras.utils.load_img, keras.applications.imagenet_utils.preprocess_input(mode="caffe")',
        source="https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py",
        proven="keras 3.15.1, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "interpolation": "nearest",
        "antialias": True,
        "channel_order": "BGR",
        "scale": 1.0,
        "mean": (103.939, 116.779, 123.68),
    }
