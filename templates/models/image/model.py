"""Encoded pictures -> pixels of one size. A Triton python-backend model; needs NumPy, Pillow and OpenCV, nothing else.

Input `image` BYTES[batch, 1]: JPEG or PNG, any size. Outputs `pixels` UINT8[batch, height, width, 3] and `geometry`
FP32[batch, 6]: scale_x, scale_y, offset_x, offset_y, width, height of the original, where canvas = original * scale + offset.
Settings come from `parameters` in config.pbtxt, the canvas from the dims of `pixels`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
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
    fit: str = "contain"  # contain | cover | stretch | shortest
    rounding: str = "nearest"  # contain, shortest: how a side becomes a whole number (`_ROUNDED`; `edge`: `_edge`)
    anchor: str = "centre"  # centre | top_left
    resize: int = 0  # cover, shortest: length of the shorter side
    longest: int = 0  # shortest: the longer side is at most this long
    multiple: int = 1  # shortest: sides are cut down to a multiple of this
    pad_value: int | tuple[int, ...] = 114
    scale_up: bool = True
    interpolation: str = "linear"
    antialias: bool = False
    coordinates: str = "half_pixel"  # half_pixel | align_corners | asymmetric
    geometry: str = "resized"  # resized | ratio | relative: `_geometry`
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
        kinds: dict[str, Any] = {"int": int, "str": str, "bool": lambda text: text == "true", "int | tuple[int, ...]": _level}
        types = {name: kinds[str(field.type)] for name, field in cls.__dataclass_fields__.items()}
        said = {key: types[key](text) for key, text in given.items() if key in types}
        return cls(**{"height": int(dims[-3]), "width": int(dims[-2]), **said})  # a batch axis may come first


def _level(text: str) -> int | tuple[int, ...]:
    """`114`, or `124,116,104` in the order of the channels."""
    levels = tuple(int(level) for level in text.split(","))
    return levels[0] if len(levels) == 1 else levels


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
    where = _geometry((w, h), (nw, nh), (left, top), settings)
    geometry = np.array([*where, w, h], np.float32)
    if canvas is None:
        canvas = np.empty((settings.height, settings.width, 3), np.uint8)
    if settings.coordinates == "asymmetric":
        return _warp(rgb, where, settings, canvas), geometry
    if nw * nh > settings.max_pixels:
        raise BadImageError(
            f"{w} x {h} pixels: resized to {nw} x {nh} before the crop, at most {settings.max_pixels} pixels are made"
        )
    resized = _resize(rgb, nw, nh, settings)
    if settings.channel_order == "BGR":
        resized = resized[:, :, ::-1]
    if nw < settings.width or nh < settings.height:
        canvas[:] = settings.pad_value
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + nh, settings.height), min(left + nw, settings.width)
    canvas[y0:y1, x0:x1] = resized[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas, geometry


def place(w: int, h: int, settings: Settings) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size after the resize (width, height), and where its left top corner lies on the canvas (negative: it is cropped)."""
    nw, nh = _SIZES[settings.fit](w, h, settings)
    if settings.anchor == "top_left":
        return (nw, nh), (0, 0)
    return (nw, nh), (_middle(settings.width - nw), _middle(settings.height - nh))


def _middle(free: int) -> int:
    """The odd pixel of a padding goes to the right and the bottom; the corner of a crop is the even one of two as near."""
    return free // 2 if free > 0 else round(free / 2)


def _cover(w: int, h: int, settings: Settings) -> tuple[int, int]:
    short = min(w, h)
    nw, nh = (settings.resize if side == short else int(settings.resize * side / short) for side in (w, h))
    return nw, nh


def _ratio(w: int, h: int, settings: Settings) -> float:
    """What a length of the picture is multiplied by, before anything is rounded."""
    if settings.fit == "shortest":
        return min(settings.resize / min(w, h), settings.longest / max(w, h))
    ratio = min(settings.width / w, settings.height / h)
    return ratio if settings.scale_up else min(ratio, 1.0)


def _contain(w: int, h: int, settings: Settings) -> tuple[int, int]:
    if settings.rounding == "integer":
        tall = settings.width / w >= settings.height / h
        over, under = (settings.height, h) if tall else (settings.width, w)
        return max(1, w * over // under), max(1, h * over // under)
    ratio, rounded = _ratio(w, h, settings), _ROUNDED[settings.rounding]
    return max(1, rounded(w * ratio)), max(1, rounded(h * ratio))


def _shortest(w: int, h: int, settings: Settings) -> tuple[int, int]:
    nw, nh = _edge(w, h, settings) if settings.rounding == "edge" else _contain(w, h, settings)
    step = settings.multiple
    return max(1, nw - nw % step), max(1, nh - nh % step)


def _edge(w: int, h: int, settings: Settings) -> tuple[int, int]:
    """The shorter side is rounded first, the longer follows from it unrounded and is cut: DETR's own order."""
    short, long = min(w, h), max(w, h)
    exact: float = settings.resize
    if long / short * settings.resize > settings.longest:
        exact = settings.longest * float(short) / long
    side = round(exact)
    if side == short:
        return w, h
    return (side, int(exact * h / w)) if w < h else (int(exact * w / h), side)


def _stretch(_w: int, _h: int, settings: Settings) -> tuple[int, int]:
    return settings.width, settings.height


def _half_up(side: float) -> int:
    return int(side + 0.5)


_SIZES = {"contain": _contain, "cover": _cover, "shortest": _shortest, "stretch": _stretch}
_ROUNDED: dict[str, Callable[[float], int]] = {"nearest": round, "half_up": _half_up, "down": int}


def _geometry(
    old: tuple[int, int], new: tuple[int, int], left_top: tuple[int, int], settings: Settings
) -> tuple[float, float, float, float]:
    """scale_x, scale_y, offset_x, offset_y by which boxes go back, as the training code has them.

    resized: where the pixels lie. ratio: one ratio for both sides, and half of what it leaves free, neither rounded.
    relative: sides as resized, and half of what they leave free, not rounded.
    """
    scale, offset, side = (new[0] / old[0], new[1] / old[1]), left_top, (float(new[0]), float(new[1]))
    if settings.geometry == "ratio" and settings.fit != "stretch":
        ratio = _ratio(*old, settings)
        scale, side = (ratio, ratio), (old[0] * ratio, old[1] * ratio)
    if settings.geometry != "resized" and settings.anchor == "centre":
        return (*scale, (settings.width - side[0]) / 2, (settings.height - side[1]) / 2)
    return (*scale, *offset)


def _resize(rgb: Pixels, nw: int, nh: int, settings: Settings) -> Pixels:
    if rgb.shape[1] == nw and rgb.shape[0] == nh:
        return rgb
    if settings.coordinates == "align_corners":
        return _corners(rgb, nw, nh)
    if settings.antialias:
        # columns, then rows: left to itself, Pillow 13 takes the cheaper order first where Pillow 12 did not, and the two differ
        columns = Image.fromarray(rgb).resize((nw, rgb.shape[0]), _ANTIALIASED[settings.interpolation])
        return np.asarray(columns.resize((nw, nh), _ANTIALIASED[settings.interpolation]))
    return cv2.resize(rgb, (nw, nh), interpolation=_INTERPOLATION[settings.interpolation])  # type: ignore[return-value]


def _corners(rgb: Pixels, nw: int, nh: int) -> Pixels:
    """Linear between four neighbours, corner pixels on corner pixels: Darknet's resize_image, in its single precision."""
    y, y_next, below = _steps(rgb.shape[0], nh)
    x, x_next, right = _steps(rgb.shape[1], nw)
    above, left = 1 - below, 1 - right
    below[-1] = 0  # nothing is added to the last row, though rounding may have taken a little from it
    x[-1], left[-1], right[-1] = rgb.shape[1] - 1, 1, 0
    rows = rgb[y] * above[:, None, None] + rgb[y_next] * below[:, None, None]
    values = rows[:, x] * left[:, None] + rows[:, x_next] * right[:, None]
    return (values + np.float32(0.5)).astype(np.uint8)  # type: ignore[no-any-return]


def _steps(old: int, new: int) -> tuple[Any, Any, Any]:
    """For each new pixel: the old one before it, the next, and the share of the next."""
    place = np.arange(new, dtype=np.float32) * (np.float32(old - 1) / np.float32(max(new - 1, 1)))
    whole = np.minimum(place.astype(np.int64), old - 1)
    return whole, np.minimum(whole + 1, old - 1), (place - whole).astype(np.float32)


def _warp(rgb: Pixels, where: tuple[float, float, float, float], settings: Settings, canvas: Pixels) -> Pixels:
    """canvas = original * scale + offset for pixel indices: a map that fades into the padding at the picture's edges."""
    matrix = np.array([[where[0], 0, where[2]], [0, where[1], where[3]], [0, 0, 1]], np.float64)
    said, step = settings.pad_value, -1 if settings.channel_order == "BGR" else 1
    colour = (said if isinstance(said, tuple) else (said,) * 3)[::step]
    flags = _INTERPOLATION[settings.interpolation]
    warped = cv2.warpPerspective(rgb, matrix, (settings.width, settings.height), flags=flags, borderValue=colour)
    canvas[:] = warped[:, :, ::step]
    return canvas


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
