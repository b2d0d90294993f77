"""torchvision: a model by its builder's name, and its weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from generator import evaluation_table
from generator.errors import CheckpointError
from generator.extras import library
from generator.heads import Head
from generator.inputs import Input
from generator.library_frontend import LibraryFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State

#: Parts that are only trained with; whether a model has them is told by its weights. Argument -> how their names begin.
_AUXILIARY = {"aux_loss": ("aux_classifier.",), "aux_logits": ("aux1.", "AuxLogits.")}
#: Sides that detectors were trained with where it is not 800.
_SIDES = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320, "fasterrcnn_mobilenet_v3_large_320_fpn": 320}


class Torchvision(LibraryFrontend):
    """torchvision: `model: resnet18` and its weights; classifiers, segmentation, and detectors as boxes and scores for `nms:`.

    Detectors (SSD, RetinaNet, FCOS, Faster R-CNN) take one batch of a fixed size; what they resize, suppress and list themselves
    is left to the server's `preprocess:` and to `nms:`. Nothing is fetched.
    """

    kind: Literal["torchvision"] = "torchvision"
    libraries: ClassVar[tuple[str, ...]] = (*LibraryFrontend.libraries, "torchvision")
    sources: ClassVar[tuple[str, ...]] = (*LibraryFrontend.sources, "../torchvision_detection.py")
    loading: ClassVar[tuple[str, ...]] = ("weights", "weights_backbone", "pretrained", "pretrained_backbone")

    def built(self, state: State) -> torch.nn.Module:
        """By `torchvision.models.get_model`, with the auxiliary parts that the weights have."""
        models = self._models()
        if self.model not in models.list_models():
            raise self.unknown(models.list_models())
        fixed = set(inspect.signature(models.get_model_builder(self.model)).parameters)
        arguments = {"weights": None, **self.arguments}
        if "weights_backbone" in fixed:
            arguments["weights_backbone"] = None
        for name, begins in _AUXILIARY.items():
            if _takes(models, self.model, name) and name not in arguments:
                arguments[name] = any(key.startswith(begins) for key in state)
        if _takes(models, self.model, "init_weights"):
            arguments.setdefault("init_weights", False)
        try:
            module: torch.nn.Module = models.get_model(self.model, **arguments)
        except Exception as error:
            raise self.refused(error) from None
        return module

    def module(self) -> torch.nn.Module:
        """Detectors for a whole batch: boxes and scores of every candidate."""
        module = super().module()
        if not self._is("detection"):
            return module
        from generator.torchvision_detection import detector

        try:
            return detector(module, *self._canvas()).eval()
        except TypeError:
            raise CheckpointError(
                f"torchvision model {self.model}: masks and key points, which follow the boxes that are kept, are not exported",
                "take its boxes: `model: fasterrcnn_resnet50_fpn` with `ignore: [roi_heads.mask_*]` or `[roi_heads.keypoint_*]`",
            ) from None

    def taken(self) -> Mapping[str, Input]:
        """The spec's, else one picture (or clip) of the size that torchvision evaluates its own weights with."""
        if self.inputs:
            return self.inputs
        if self._is("detection"):
            side = _SIDES.get(self.model, 800)
            return self.picture(3, side, side)
        transform = self._transform()
        size = getattr(transform, "crop_size", None) or getattr(transform, "resize_size", None)
        if not size or self._is("optical_flow"):
            return super().taken()
        frames = [16] if self._is("video") else []
        return self.picture(3, *frames, size[0], size[-1])

    def given(self) -> list[str]:
        """The spec's, else by what it does: `logits`; `out`; `boxes` and `scores`."""
        if self.outputs or self._is("optical_flow"):
            return list(self.outputs)
        return ["boxes", "scores"] if self._is("detection") else ["out"] if self._is("segmentation") else ["logits"]

    def head(self) -> Head | None:
        """Of detectors: their boxes are decoded already."""
        if not self._is("detection"):
            return None
        from generator.heads.boxes import Boxes

        two_stage = "rcnn" in self.model
        background = 0 if two_stage or self.model.startswith("ssd") else None
        classes = self.arguments.get("num_classes", 91)
        return Boxes(
            classes=classes, boxes=("boxes",), scores=("scores",), normalised=True, background=background, per_class=two_stage
        )

    def unordered(self) -> tuple[tuple[str, ...], ...]:
        """The proposals of a Faster R-CNN, which it chooses by score."""
        return (("boxes", "scores"),) if "rcnn" in self.model and not self.outputs else ()

    def operators(self) -> Mapping[Any, Any]:
        """The suppression of region proposals."""
        if not self._is("detection"):
            return {}
        from generator.torchvision_detection import translations

        return translations()

    def preprocessing(self) -> Mapping[str, Any]:
        """torchvision's evaluation transform, or what a detector does itself."""
        return evaluation_table.preprocessing("torchvision", self.model)

    def _canvas(self) -> tuple[int, int]:
        shape = next(iter(self.taken().values())).shape
        if len(self.taken()) != 1 or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:]):
            raise CheckpointError(
                f"torchvision model {self.model} is a detector: found inputs {', '.join(self.taken())} with {list(shape)}",
                "expected one of a fixed size: `inputs: {image: [batch, 3, 800, 800]}`",
            )
        return int(shape[2]), int(shape[3])

    def _models(self) -> Any:
        return library("torchvision", "torchvision.models", self.kind)

    def _is(self, task: str) -> bool:
        models = self._models()
        return self.model in models.list_models(getattr(models, task))

    def _transform(self) -> Any:
        """The evaluation transform of the builder's own weights; nothing is fetched."""
        models = self._models()
        if self.model not in models.list_models():
            raise self.unknown(models.list_models())
        return models.get_model_weights(self.model).DEFAULT.transforms()


def _takes(models: Any, name: str, argument: str) -> bool:
    """Does the builder, or a class beside it, have such an argument?"""
    builder = models.get_model_builder(name)
    beside = vars(inspect.getmodule(builder)).values()
    makers = [builder, *(kind for kind in beside if inspect.isclass(kind) and kind.__module__ == builder.__module__)]
    return any(argument in inspect.signature(maker).parameters for maker in makers)
