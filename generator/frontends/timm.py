"""timm: a model of PyTorch Image Models by its name, and its weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from generator.extras import library
from generator.inputs import Input
from generator.library_frontend import LibraryFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State

#: timm's words for how pixels are resampled, in ours.
_RESAMPLED = {"bicubic": "cubic", "bilinear": "linear", "nearest": "nearest"}


class Timm(LibraryFrontend):
    """timm: `model: convnext_atto` and its weights; the input's size and its preset come from timm's `pretrained_cfg`.

    A name with a tag (`resnet50.a1_in1k`) takes size and preset of these weights. Nothing is fetched.
    """

    kind: Literal["timm"] = "timm"
    libraries: ClassVar[tuple[str, ...]] = (*LibraryFrontend.libraries, "timm")
    loading: ClassVar[tuple[str, ...]] = ("pretrained", "checkpoint_path", "pretrained_cfg_overlay")

    def built(self, state: State) -> torch.nn.Module:
        """By `timm.create_model`."""
        timm = library("timm", "timm", self.kind)
        if not timm.is_model(self.model):
            raise self.unknown(timm.list_models())
        try:
            module: torch.nn.Module = timm.create_model(self.model, pretrained=False, **self.arguments)
        except Exception as error:
            raise self.refused(error) from None
        return module

    def taken(self) -> Mapping[str, Input]:
        """The spec's, else one picture of the size that timm evaluates these weights with."""
        if self.inputs:
            return self.inputs
        channels, height, width = self._size()
        return self.picture(channels, height, width)

    def given(self) -> list[str]:
        """The spec's, else `logits`, or `features` without a classifier."""
        if self.outputs or "features_only" in self.arguments:
            return list(self.outputs)
        return ["features" if self.arguments.get("num_classes") == 0 else "logits"]

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Also says timm's evaluation transform as a `preprocess:` block."""
        return {**super().export(opset, path), "preprocess": self._preset()}

    def _size(self) -> tuple[int, int, int]:
        said = self.arguments.get("img_size")
        channels, height, width = _config(self.model)["input_size"]
        if said is not None:
            height, width = (said, said) if isinstance(said, int) else said
        return self.arguments.get("in_chans", channels), height, width

    def _preset(self) -> str:
        """Only what differs from the defaults of `generator/preprocessing/timm.py`."""
        from generator.preprocessing.timm import Timm as Preset

        config = _config(self.model)
        own = {
            "crop_pct": config["crop_pct"],
            "interpolation": _RESAMPLED.get(config["interpolation"], config["interpolation"]),
            "mean": list(config["mean"]),
            "std": list(config["std"]),
        }
        usual = Preset().model_dump(mode="json")
        changed = {name: value for name, value in own.items() if value != usual[name]}
        mode = "" if config["crop_mode"] == "center" else f" (timm crops with crop_mode {config['crop_mode']})"
        return "{kind: timm" + "".join(f", {name}: {json.dumps(value)}" for name, value in changed.items()) + "}" + mode


@functools.cache
def _config(model: str) -> dict[str, Any]:
    """timm's `pretrained_cfg` of that name, or of that name and tag."""
    models = library("timm", "timm.models", "timm")
    return dict((models.get_pretrained_cfg(model) or models.PretrainedCfg()).to_dict())
