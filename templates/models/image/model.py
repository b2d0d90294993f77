"""Encoded pictures -> pixels of one size. A Triton python-backend model; needs NumPy, Pillow and OpenCV, nothing else.

Input `image` BYTES[batch, 1]: JPEG or PNG, any size. Outputs `pixels` UINT8[batch, height, width, 3] and `geometry`
FP32[batch, 6]: scale_x, scale_y, offset_x, offset_y, width, height of the original, where canvas = original * scale + offset.
Settings come from `parameters` in config.pbtxt, the canvas from the dims of `pixels`.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

cv2.setNumThreads(1)  # pictures are what runs in parallel here, not rows of one
Image.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, checked before anything is decoded

_INTERPOLATION = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_ANTIALIASED = {
    "nearest": Image.Resampling.NEAREST,
    "linear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}
_ORIENTATION = 0x0112  # Exif tag 274
_SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class BadImageError(Exception):
    """A picture that cannot be served; the message goes to the client."""


@dataclass(frozen=True)
class Settings:
    """What config.pbtxt says: canvas, how the picture is fitted into it, and limits."""

    height: int
    width: int
    fit: str = "contain"  # contain | cover | stretch
    anchor: str = "centre"  # centre | top_left
    resize: int = 0  # cover: length of the shorter side before the crop
    pad_value: int = 114
    scale_up: bool = True
    interpolation: str = "linear"
    antialias: bool = False
    channel_order: str = "RGB"
    max_pixels: int = 120_000_000
    threads: int = 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Settings:
        """From the model configuration as Triton hands it over (JSON form of config.pbtxt).

        Parameters of other names are somebody else's: the python backend has some of its own (EXECUTION_ENV_PATH).
        """
        given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        dims = next(output["dims"] for output in config["output"] if output["name"] == "pixels")
        kinds: dict[str, Any] = {"int": int, "str": str, "bool": lambda text: text == "true"}
        types = {name: kinds[str(field.type)] for name, field in cls.__dataclass_fields__.items()}
        said = {key: types[key](text) for key, text in given.items() if key in types}
        return cls(**{"height": int(dims[-3]), "width": int(dims[-2]), **said})  # a batch axis may come first


def decode(data: bytes, max_pixels: int) -> Pixels:
    """JPEG or PNG -> RGB uint8 [height, width, 3], upright. Alpha is dropped, 16 bits become 8. Raises BadImageError."""
    if not data:
        raise BadImageError("no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > max_pixels:
                raise BadImageError(f"{image.width} x {image.height} pixels, at most {max_pixels} are decoded")
            rgb = _fast(data) if image.format == "JPEG" and image.mode in ("RGB", "L") else None
            return _upright(_rgb(image) if rgb is None else rgb, _orientation(image))
    except UnidentifiedImageError:
        raise BadImageError(_unidentified(data)) from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise BadImageError(f"cannot be decoded: {str(error) or type(error).__name__}") from None


def _unidentified(data: bytes) -> str:
    for kind, signature in _SIGNATURES.items():
        if data.startswith(signature[: len(data)]):
            return f"cannot be decoded: it begins as a {kind} does, but its header is cut off or damaged ({len(data)} bytes)"
    return f"neither JPEG nor PNG: it begins with {data[:8]!r}"


def _orientation(image: Image.Image) -> int:
    """Exif orientation. Damaged Exif data does not make a picture unusable: it is taken as it lies."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's Exif reader raises SyntaxError, struct.error, TypeError, ... for what cameras write
        return 1


def _fast(data: bytes) -> Pixels | None:
    """A JPEG by OpenCV: the same pixels in about half of Pillow's time. None (a truncated file, for one) where Pillow decides."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[return-value]


def _rgb(image: Image.Image) -> Pixels:
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "P":  # a palette may hold alpha; the colours are what the model saw in training
        return np.asarray(image.convert("RGBA").convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _upright(rgb: Pixels, orientation: int) -> Pixels:
    """Exif orientations 1 to 8; anything else counts as 1."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb if orientation in (0, 1) else np.ascontiguousarray(rgb)


def prepare(
    rgb: Pixels, settings: Settings, canvas: Pixels | None = None
) -> tuple[Pixels, np.ndarray[Any, np.dtype[np.float32]]]:
    """RGB [h, w, 3] -> pixels [height, width, 3], into `canvas` where one is given, and geometry [6]. Raises BadImageError."""
    h, w = rgb.shape[:2]
    (nw, nh), (left, top) = place(w, h, settings)
    if nw * nh > settings.max_pixels:
        raise BadImageError(
            f"{w} x {h} pixels: resized to {nw} x {nh} before the crop, at most {settings.max_pixels} pixels are made"
        )
    resized = _resize(rgb, nw, nh, settings)
    if settings.channel_order == "BGR":
        resized = resized[:, :, ::-1]
    if canvas is None:
        canvas = np.empty((settings.height, settings.width, 3), np.uint8)
    if nw < settings.width or nh < settings.height:
        canvas[:] = settings.pad_value
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + nh, settings.height), min(left + nw, settings.width)
    canvas[y0:y1, x0:x1] = resized[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas, np.array([nw / w, nh / h, left, top, w, h], np.float32)


def place(w: int, h: int, settings: Settings) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size after the resize (width, height), and where its left top corner lies on the canvas (negative: it is cropped)."""
    if settings.fit == "stretch":
        return (settings.width, settings.height), (0, 0)
    if settings.fit == "cover":
        short = min(w, h)
        nw, nh = (settings.resize if side == short else int(settings.resize * side / short) for side in (w, h))
        centred = (round((settings.width - nw) / 2), round((settings.height - nh) / 2))
    else:
        ratio = min(settings.width / w, settings.height / h)
        ratio = ratio if settings.scale_up else min(ratio, 1.0)
        nw, nh = max(1, round(w * ratio)), max(1, round(h * ratio))
        centred = (round((settings.width - nw) / 2 - 0.1), round((settings.height - nh) / 2 - 0.1))
    return (nw, nh), (centred if settings.anchor == "centre" else (0, 0))


def _resize(rgb: Pixels, nw: int, nh: int, settings: Settings) -> Pixels:
    if rgb.shape[1] == nw and rgb.shape[0] == nh:
        return rgb
    if settings.antialias:
        # columns, then rows: left to itself, Pillow 13 takes the cheaper order first where Pillow 12 did not, and the two differ
        columns = Image.fromarray(rgb).resize((nw, rgb.shape[0]), _ANTIALIASED[settings.interpolation])
        return np.asarray(columns.resize((nw, nh), _ANTIALIASED[settings.interpolation]))
    return cv2.resize(rgb, (nw, nh), interpolation=_INTERPOLATION[settings.interpolation])  # type: ignore[return-value]


class TritonPythonModel:
    """Decodes and fits every picture of an execution side by side; a request with a bad one gets its index, from 0."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the settings."""
        import json

        self.settings = Settings.from_config(json.loads(args["model_config"]))
        self.pool = ThreadPoolExecutor(self.settings.threads or min(4, os.cpu_count() or 1))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        import triton_python_backend_utils as pb_utils

        batches = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1) for request in requests]
        total = sum(len(batch) for batch in batches)
        pixels = np.empty((total, self.settings.height, self.settings.width, 3), np.uint8)
        geometry = np.empty((total, 6), np.float32)
        flat = [data for batch in batches for data in batch]
        work = self.pool.map if total > 1 else map
        errors = list(work(lambda row: self._one(flat[row], pixels[row], geometry[row]), range(total)))
        responses, start = [], 0
        for batch in batches:
            end = start + len(batch)
            bad = next((i for i in range(start, end) if errors[i]), None)
            if bad is None:
                tensors = [pb_utils.Tensor("pixels", pixels[start:end]), pb_utils.Tensor("geometry", geometry[start:end])]
                responses.append(pb_utils.InferenceResponse(tensors))
            else:
                which = f"image[{bad - start}] of {len(batch)}: {errors[bad]}"
                responses.append(pb_utils.InferenceResponse([], pb_utils.TritonError(which, pb_utils.TritonError.INVALID_ARG)))
            start = end
        return responses

    def _one(self, data: Any, canvas: np.ndarray[Any, Any], geometry: np.ndarray[Any, Any]) -> str:
        """Fill one row; the error's message, or nothing."""
        try:
            raw = data if isinstance(data, bytes) else bytes(data)
            geometry[:] = prepare(decode(raw, self.settings.max_pixels), self.settings, canvas)[1]
        except BadImageError as error:
            return str(error)
        except Exception as error:
            return f"cannot be prepared: {type(error).__name__}: {error}"
        return ""

    def finalize(self) -> None:
        """Let the threads go."""
        self.pool.shutdown()
