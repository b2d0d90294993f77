"""darknet: a .cfg and its .weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from generator.darknet import HEADS, Layer, Section, layers, read_cfg, read_weights
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.frontends import Interface
from generator.heads import Head
from generator.heads.yolov2 import Yolov2
from generator.heads.yolov4 import Level, Yolov4
from generator.inputs import Input
from generator.tensors import Tensor
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch


class Darknet(TorchFrontend):
    """Darknet cfg and weights (YOLOv2, YOLOv3, YOLOv4 and their tiny variants); every float is used."""

    kind: Literal["darknet"] = "darknet"
    sources: ClassVar[tuple[str, ...]] = ("../darknet.py", "../darknet_module.py")

    cfg: Annotated[SpecFile, Field(description="The network's .cfg; size, anchors and classes are read from it.")]
    weights: Annotated[SpecFile, Field(description="The trained .weights.")]

    def files(self) -> list[Path]:
        """The cfg and the weights."""
        return [self.cfg, self.weights]

    def interface(self) -> Interface:
        """Input size and channels from [net]; one output for each [yolo] or [region]."""
        sections = read_cfg(self.cfg)
        net = sections[0]
        image = Tensor("images", "FP32", (net.integer("channels", 3), net.integer("height"), net.integer("width")))
        heads = [layer for layer in layers(sections) if layer.section.kind in HEADS]
        if not heads:
            raise CheckpointError(
                f"{self.cfg}: no [yolo] or [region] layer", "only detectors with such heads are supported so far"
            )
        read_weights(self.weights)
        outputs = tuple(Tensor(f"{layer.section.kind}_{index}", "FP32", layer.shape) for index, layer in enumerate(heads))
        return Interface((image,), outputs, _head(heads, image.shape[1]))

    def taken(self) -> dict[str, Input]:
        """The picture, of the size that the cfg says."""
        return {t.name: Input(shape=("batch", *t.shape)) for t in self.interface().inputs}

    def given(self) -> list[str]:
        """As `interface` names them."""
        return [tensor.name for tensor in self.interface().outputs]

    @model_validator(mode="after")
    def _says_itself(self) -> Darknet:
        if said := [name for name in ("inputs", "outputs", "axes") if getattr(self, name)]:
            raise ValueError(f"{' and '.join(said)}: the cfg says them; remove {'it' if len(said) == 1 else 'them'}")
        return self

    def module(self) -> torch.nn.Module:
        """The network with its weights, in eval mode."""
        from generator.darknet_module import Network

        network = Network(self.cfg)
        network.load_darknet(self.weights)
        return network.eval()


def _head(heads: list[Layer], height: int) -> Head:
    regions = [layer for layer in heads if layer.section.kind == "region"]
    if regions and len(heads) > 1:
        raise heads[-1].section.error(f"one of {len(heads)} heads; expected one [region], or [yolo] only")
    if regions:
        return _region(regions[0], height)
    classes = {layer.section.integer("classes") for layer in heads}
    if len(classes) != 1:
        raise heads[-1].section.error(f"heads of different class counts {sorted(classes)}")
    return Yolov4(classes=classes.pop(), levels=tuple(_level(layer) for layer in heads))


def _region(layer: Layer, height: int) -> Yolov2:
    """Its anchors are in cells."""
    section, rows = layer.section, layer.shape[1]
    if section.integer("coords", 4) != 4 or section.integer("background", 0) or "tree" in section.values:
        raise section.error("coords other than 4, background and tree (YOLO9000) are not supported")
    if height % rows:
        raise section.error(f"{rows} rows of cells do not divide a height of {height}")
    anchors = tuple(_pairs(section))
    if len(anchors) != section.integer("num", len(anchors)):
        raise section.error(f"num={section.integer('num')} and {len(anchors)} anchors do not belong together")
    softmax = bool(section.integer("softmax", 0))
    return Yolov2(classes=section.integer("classes"), anchors=anchors, strides=(height // rows,), softmax=softmax)


def _pairs(section: Section) -> list[tuple[float, float]]:
    flat = section.numbers("anchors")
    if len(flat) % 2 or not flat:
        raise section.error(f"{len(flat)} anchor values, expected pairs")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _level(layer: Layer) -> Level:
    section = layer.section
    if section.integer("new_coords", 0):
        raise section.error("new_coords=1 (Scaled-YOLOv4) is not supported")
    pairs = _pairs(section)
    mask = [int(index) for index in section.numbers("mask")] or list(range(len(pairs)))
    if any(not 0 <= index < len(pairs) for index in mask):
        raise section.error(f"mask {mask} and the {len(pairs)} anchors do not belong together")
    return Level(anchors=tuple(pairs[index] for index in mask), scale_x_y=section.number("scale_x_y", 1.0))
