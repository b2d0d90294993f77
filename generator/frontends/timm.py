"""timm: a model of PyTorch Image Models by its name, and its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from generator import evaluation_table
from generator.extras import library
from generator.inputs import Input
from generator.library_frontend import LibraryFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


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

    def preprocessing(self) -> Mapping[str, Any]:
        """timm's evaluation transform."""
        return evaluation_table.preprocessing("timm", self.model)

    def _size(self) -> tuple[int, int, int]:
        said = self.arguments.get("img_size")
        channels, height, width = _config(self.model)["input_size"]
        if said is not None:
            height, width = (said, said) if isinstance(said, int) else said
        return self.arguments.get("in_chans", channels), height, width


@functools.cache
def _config(model: str) -> dict[str, Any]:
    """timm's `pretrained_cfg` of that name, or of that name and tag."""
    models = library("timm", "timm.models", "timm")
    return dict((models.get_pretrained_cfg(model) or models.PretrainedCfg()).to_dict())
