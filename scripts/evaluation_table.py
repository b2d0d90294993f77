"""Write generator/evaluation_table.json: how every timm and torchvision model is evaluated, as `preprocess:` says it.

Run it where both are installed (`/path/to/venv/bin/python scripts/evaluation_table.py`); it downloads nothing.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from generator.evaluation_table import TABLE
from generator.preprocessing import Preprocess
from generator.preprocessing.timm import Timm
from generator.preprocessing.torchvision_classification import TorchvisionClassification

#: Their words for how pixels are resampled, in ours.
_RESAMPLED = {"bicubic": "cubic", "bilinear": "linear", "nearest": "nearest"}
_SSD = {"ssd300_vgg16": "torchvision_ssd", "ssdlite320_mobilenet_v3_large": "torchvision_ssdlite"}


def timm_models() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each name, and each name with a tag: crops of the middle, of square models with three channels."""
    timm = import_module("timm")
    for name in dict.fromkeys([*timm.list_models(), *timm.list_pretrained()]):
        config = timm.get_pretrained_cfg(name).to_dict()
        channels, height, width = config["input_size"]
        middle = config["crop_mode"] == "center" and config["crop_pct"] <= 1
        if (channels, height) == (3, width) and middle and config["interpolation"] in _RESAMPLED:
            own = {"crop_pct": config["crop_pct"], **_look(config["interpolation"], config["mean"], config["std"])}
            yield name, _said(Timm(), own)


def torchvision_models() -> Iterator[tuple[str, dict[str, Any]]]:
    """Classifiers and detectors; segmentation and video have no preset."""
    models = import_module("torchvision.models")
    for name in models.list_models(models.detection):
        yield name, {"kind": _SSD.get(name, "torchvision_detection")}
    for name in models.list_models(models):
        transform = models.get_model_weights(name).DEFAULT.transforms()
        look = _look(transform.interpolation.value, transform.mean, transform.std)
        yield name, _said(TorchvisionClassification(), {"resize": transform.resize_size[0], **look})


def _look(interpolation: str, mean: Any, std: Any) -> dict[str, Any]:
    return {"interpolation": _RESAMPLED[interpolation], "mean": list(mean), "std": list(std)}


def _said(preset: Preprocess, own: dict[str, Any]) -> dict[str, Any]:
    """The kind, and what differs from its defaults."""
    usual = preset.model_dump(mode="json")
    return {"kind": preset.kind, **{key: value for key, value in own.items() if value != usual[key]}}


def main() -> None:
    """One line of the table for each way of evaluating."""
    table: dict[str, dict[str, list[str]]] = {"timm": defaultdict(list), "torchvision": defaultdict(list)}
    for library, models in (("timm", timm_models()), ("torchvision", torchvision_models())):
        for name, said in models:
            table[library][json.dumps(said)].append(name)
    joined = {library: {said: " ".join(names) for said, names in of.items()} for library, of in table.items()}
    TABLE.write_text(json.dumps(joined, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
