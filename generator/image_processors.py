"""preprocessor_config.json of Hugging Face transformers -> what `preprocess:` says to do the same here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: Pillow's numbers for ways to resample (PIL.Image.Resampling); Lanczos, 1, is not known here.
_RESAMPLE = {0: "nearest", 2: "linear", 3: "cubic"}
_COLOURS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
#: Their own resizes and rounding, each a preset here.
_PRESETS = {
    "Detr": "detr", "ConditionalDetr": "detr", "DeformableDetr": "detr", "Yolos": "yolos", "RTDetr": "rt_detr",
}  # fmt: skip
#: What else a processor may do to a picture; none of it is known here.
_MORE = (
    "do_pad", "do_thumbnail", "do_align_long_axis", "do_flip_channel_order", "do_crop_margin", "do_split_image", "size_divisor",
)  # fmt: skip

Said = dict[str, Any]


def preprocessing(config: Mapping[str, Any]) -> Said:
    """`{kind: center_crop, resize: 256, ...}`; {} where the config says something that no kind here does."""
    named = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    kind = re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", named)
    colours = _colours(config)
    if not named or colours is None or not config.get("do_resize", True):
        return {}
    if kind in _PRESETS:
        return _detector(_PRESETS[kind], config, colours)
    if any(config.get(name) for name in _MORE) or (interpolation := _RESAMPLE.get(config.get("resample", 2))) is None:
        return {}
    fitted = _crop_share(config) if kind == "ConvNext" else _fitted(config)
    return {**fitted, "interpolation": interpolation, **colours} if fitted else {}


def _colours(config: Mapping[str, Any]) -> Said | None:
    """scale, mean and std; None where pixels stay as they are, or are scaled in another way."""
    factor = config.get("rescale_factor", 1 / 255)
    if not config.get("do_rescale", True) or not isinstance(factor, float) or config.get("offset"):
        return None
    scale: Said = {} if math.isclose(factor, 1 / 255, rel_tol=1e-6) else {"scale": factor}
    if not config.get("do_normalize", True):
        return scale
    mean, std = config.get("image_mean"), config.get("image_std")
    if not isinstance(mean, list) or not isinstance(std, list) or (len(mean), len(std)) != (3, 3):
        return None
    return {**scale, "mean": tuple(mean), "std": tuple(std)}


def _detector(preset: str, config: Mapping[str, Any], colours: Said) -> Said:
    said = {name: value for name, value in colours.items() if preset == "rt_detr" or value != _COLOURS.get(name)}
    size = config.get("size", {})
    if preset == "rt_detr":
        return {"kind": preset, **said} if isinstance(size, dict) and {"height", "width"} <= size.keys() else {}
    if not isinstance(size, dict) or not {"shortest_edge", "longest_edge"} <= size.keys() or len(colours) < 2:
        return {}
    return {"kind": preset, "shortest": size["shortest_edge"], "longest": size["longest_edge"], **said}


def _fitted(config: Mapping[str, Any]) -> Said:
    size, crop = _pair(config.get("size")), _pair(config.get("crop_size")) if config.get("do_center_crop") else None
    shortest = _shortest(config.get("size"), cropped=crop is not None)
    if shortest and crop:
        return {"kind": "center_crop", "resize": shortest}
    if size and crop in (None, size):
        return {"kind": "stretch", "antialias": True}
    return {}


def _crop_share(config: Mapping[str, Any]) -> Said:
    """ConvNeXt: small pictures from the middle of larger ones, large ones whole (ConvNextImageProcessor.resize)."""
    shortest, share = _shortest(config.get("size"), cropped=True), config.get("crop_pct") or 224 / 256
    if not shortest:
        return {}
    if shortest >= 384:
        return {"kind": "stretch", "antialias": True}
    return {"kind": "center_crop", "resize": int(shortest / share)}


def _pair(said: Any) -> tuple[int, int] | None:
    if isinstance(said, int):
        return said, said
    if isinstance(said, dict) and {"height", "width"} <= said.keys():
        return said["height"], said["width"]
    return None


def _shortest(said: Any, cropped: bool) -> int:
    """Of {"shortest_edge": 256}; a bare number means that where a crop follows."""
    if isinstance(said, dict) and "longest_edge" not in said:
        return int(said.get("shortest_edge") or 0)
    return said if isinstance(said, int) and cropped else 0
