"""ultralytics: the .pt that training with ultralytics leaves behind."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from generator import extras, paths
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.frontends import Interface
from generator.inputs import Input, Shape
from generator.pickle_notes import Made
from generator.torch_frontend import TorchFrontend
from generator.yolo_outline import Raw, YoloOutline, other, read

if TYPE_CHECKING:
    import torch

    from generator.heads import Head

Side = Annotated[int, Field(ge=32, le=16384)]


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


class Ultralytics(TorchFrontend):
    """A .pt of ultralytics: YOLOv3 to YOLO26 and RT-DETR; detect, segment, pose, obb, classify. Head and classes come with it.

    Outputs are called as ultralytics' own export calls them: `images` in, `output0` and, of segmentation, `output1` out;
    RT-DETR's are `boxes` and `scores`, before any selection. The pickle is loaded with weights_only and ultralytics'
    list of its own classes, so that nothing else in it comes to life.
    """

    kind: Literal["ultralytics"] = "ultralytics"
    sources: ClassVar[tuple[str, ...]] = ("../yolo_outline.py", "../pickle_reader.py", "../pickle_notes.py", "../extras.py")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "ultralytics")

    file: Annotated[SpecFile, Field(description="The .pt file.")]
    weights: Annotated[
        Literal["ema", "model"] | None,
        Field(description="Which of its two models; left out: the moving average (`ema`) where the file has it."),
    ] = None
    size: Annotated[
        tuple[Side, Side] | None,
        BeforeValidator(_square, json_schema_input_type=int | tuple[int, int] | None),
        Field(description="[height, width] of the input, or one number for both; left out: that of its training."),
    ] = None
    end2end: Annotated[
        bool | None,
        Field(description="Boxes chosen by the model itself, without NMS (YOLOv10, YOLO26); left out: where it can."),
    ] = None
    max_detections: Annotated[int, Field(ge=1, description="Boxes a picture, end to end.")] = 300
    trust_checkpoint: Annotated[
        bool, Field(description="Load it though it names classes that are not ultralytics' own: that runs code from the file.")
    ] = False

    def files(self) -> list[Path]:
        """The .pt."""
        return [self.file, *self.code()]

    def interface(self) -> Interface | None:
        """From the outline of its pickle; None for inputs of the spec's own, and for a last layer that is not known."""
        raw = None if self.inputs or self.outputs else self._raw()
        if raw is None:
            return None
        return Interface(tuple(one.tensor(name) for name, one in self.taken().items()), raw.outputs, raw.head)

    def taken(self) -> Mapping[str, Input]:
        """`images` of the size of its training, unless the spec says otherwise."""
        shape: Shape = ("batch", self._outline.channels, *self._size)
        return self.inputs or {"images": Input(shape=shape)}

    def given(self) -> list[str]:
        """As the head takes them."""
        raw = self._raw()
        names = [tensor.name for tensor in raw.outputs] if raw else []
        return list(self.outputs) or names

    def head(self) -> Head | None:
        """Where inputs are the spec's own: as the outline says."""
        raw = self._raw()
        return raw.head if raw else None

    def labels(self) -> tuple[str, ...]:
        """The names of its classes."""
        return self._outline.names

    def preprocessing(self) -> Mapping[str, Any]:
        """Letterbox; RT-DETR takes pictures stretched, classifiers their middle."""
        if self._outline.is_transformer:
            return {"kind": "stretch"}
        if self._outline.task == "classify":
            return {"kind": "center_crop", "resize": min(self._size)} if self._size[0] == self._size[1] else {}
        return {"kind": "ultralytics"} if self._outline.task in ("detect", "segment", "pose", "obb") else {}

    def unordered(self) -> tuple[tuple[str, ...], ...]:
        """What it chose by score: boxes end to end, and the queries of RT-DETR."""
        if self._outline.is_transformer:
            return (("boxes", "scores"),)
        return (("output0",),) if self._chooses else ()

    def module(self) -> torch.nn.Module:
        """The model as it is deployed: batch normalisation folded, training branches gone, boxes decoded."""
        model = self._loaded()
        layer = list(model.model.children())[-1]
        if self._outline.paired:
            model.end2end = self._chooses
        with _quiet():
            model = model.fuse()
        layer.max_det = self.max_detections
        if self._outline.is_transformer:
            pictures = next(iter(self.taken().values()))
            layer.dynamic = any(isinstance(side, str) for side in pictures.shape[1:])
            return _deployed(model, queries=True)
        layer.dynamic = True  # else it compares shapes with those of its last pictures, which would fix the batch
        layer.export = True
        return _deployed(model, queries=False)

    def _loaded(self) -> Any:
        for name, value in _ALONE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("YOLO_CONFIG_DIR", str(paths.cache() / "ultralytics"))
        library = extras.library("ultralytics", "ultralytics.nn.tasks", self.kind)
        try:
            with _quiet():
                checkpoint, _ = library.torch_safe_load(str(self.file), safe_only=not self.trust_checkpoint)
                model = _mended(checkpoint[self._outline.which])
        except Exception as error:
            if not self.trust_checkpoint and isinstance(error.__cause__, pickle.UnpicklingError):
                raise self._untrusted(str(error.__cause__)) from None
            first = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise CheckpointError(f"{self.file}: ultralytics cannot load it: {first}", "is it a .pt of ultralytics?") from None
        return model

    def _untrusted(self, refusal: str) -> CheckpointError:
        named = re.search(r"(?:GLOBAL|class|global) ['`]?([\w.]+\.[\w.]+)", refusal)
        what = f" (it names {named[1]})" if named else ""
        return CheckpointError(
            f"{self.file}: loading it runs code from the file{what}", "if you trust whoever made it, say `trust_checkpoint: true`"
        )

    @functools.cached_property
    def _outline(self) -> YoloOutline:
        top = read(self.file)
        held = [name for name in ("ema", "model") if isinstance(top.get(name), Made)]
        if not held:
            raise CheckpointError(f"{self.file}: it holds no model of ultralytics", other(self.file))
        name = self.weights or held[0]
        if name not in held:
            raise CheckpointError(f"{self.file}: it has no {name!r}, only {', '.join(held)}", "correct checkpoint.weights")
        if not (made := top[name].name).startswith("ultralytics."):
            raise CheckpointError(f"{self.file}: its model is a {made}, no class of ultralytics", _FOREIGN)
        return YoloOutline(self.file, top, name)

    @property
    def _chooses(self) -> bool:
        """Whether the model itself chooses its boxes. Raises CheckpointError where it cannot."""
        if self.end2end and not self._outline.paired:
            what = f"{self.file}: it has no one-to-one branch ({self._outline.layer_name}), so it is not end to end"
            raise CheckpointError(what, "leave end2end out, and say `nms:`")
        return self._outline.paired if self.end2end is None else self.end2end

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        size, coarsest = self.size or self._outline.size, max(self._outline.strides, default=1)
        if any(side % coarsest for side in size):
            up = [-(-side // coarsest) * coarsest for side in size]
            what = f"{self.file}: size is {list(size)}; its sides must be multiples of {coarsest}"
            raise CheckpointError(what, f"say `size: {up}` in the checkpoint")
        return size

    def _raw(self) -> Raw | None:
        return self._outline.raw(self._size, self._chooses, self.max_detections)


#: It installs nothing, asks nobody, and is silent.
_ALONE = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
_FOREIGN = (
    "a model of the YOLOv5 or YOLOv7 repository is exported there (`export.py --include onnx`); then say `kind: onnx` and "
    "`head: {kind: yolov5, classes: ...}`"
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _mended(model: Any) -> Any:
    """In FP32 and eval mode, with what today's PyTorch looks for in layers that older ones wrote."""
    import torch

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"its model is a {type(model).__name__}, no torch.nn.Module")
    model = model.float().eval()
    for layer in model.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = True
        if isinstance(layer, torch.nn.Upsample) and not hasattr(layer, "recompute_scale_factor"):
            layer.recompute_scale_factor = None
    return model


def _deployed(model: Any, queries: bool) -> torch.nn.Module:
    """A module that takes pictures and nothing else.

    With `queries`, it gives what RT-DETR's last decoder layer does: boxes as fractions of the input, scores before the sigmoid.
    """
    import torch

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> Any:
            if not queries:
                return self.model(images)
            _, (boxes, scores, *_) = self.model(images)
            return {"boxes": boxes[-1], "scores": scores[-1]}

    return Deployed().eval()
