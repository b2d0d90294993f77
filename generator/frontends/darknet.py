"""darknet: a .cfg and its .weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.darknet import Layer, layers, read_cfg, read_weights
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.frontends import Frontend, Interface
from generator.heads.yolov4 import Level, Yolov4
from generator.tensors import Tensor

if TYPE_CHECKING:
    import torch


class Darknet(Frontend):
    """Darknet cfg and weights (YOLOv3, YOLOv4 and their tiny variants); every float is used."""

    kind: Literal["darknet"] = "darknet"
    sources: ClassVar[tuple[str, ...]] = ("../darknet.py", "../darknet_module.py")

    cfg: Annotated[SpecFile, Field(description="The network's .cfg; size, anchors and classes are read from it.")]
    weights: Annotated[SpecFile, Field(description="The trained .weights.")]

    def files(self) -> list[Path]:
        """The cfg and the weights."""
        return [self.cfg, self.weights]

    def interface(self) -> Interface:
        """Input size and channels from [net]; one output and one head level for each [yolo]."""
        sections = read_cfg(self.cfg)
        net = sections[0]
        image = Tensor("images", "FP32", (net.integer("channels", 3), net.integer("height"), net.integer("width")))
        heads = [layer for layer in layers(sections) if layer.section.kind == "yolo"]
        if not heads:
            raise CheckpointError(f"{self.cfg}: no [yolo] layer", "only detectors with [yolo] heads are supported so far")
        read_weights(self.weights)
        outputs = tuple(Tensor(f"yolo_{index}", "FP32", layer.shape) for index, layer in enumerate(heads))
        return Interface((image,), outputs, _head(heads))

    def module(self) -> torch.nn.Module:
        """The network with its weights, in eval mode."""
        from generator.darknet_module import Network

        network = Network(self.cfg)
        network.load_darknet(self.weights)
        return network.eval()


def _head(heads: list[Layer]) -> Yolov4:
    classes = {layer.section.integer("classes") for layer in heads}
    if len(classes) != 1:
        raise heads[-1].section.error(f"heads of different class counts {sorted(classes)}")
    return Yolov4(classes=classes.pop(), levels=tuple(_level(layer) for layer in heads))


def _level(layer: Layer) -> Level:
    section = layer.section
    if section.integer("new_coords", 0):
        raise section.error("new_coords=1 (Scaled-YOLOv4) is not supported")
    flat = section.numbers("anchors")
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    mask = [int(index) for index in section.numbers("mask")] or list(range(len(pairs)))
    if len(flat) % 2 or any(not 0 <= index < len(pairs) for index in mask):
        raise section.error(f"mask {mask} and the {len(flat)} anchor values do not belong together")
    return Level(anchors=tuple(pairs[index] for index in mask), scale_x_y=section.number("scale_x_y", 1.0))
