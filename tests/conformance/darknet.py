"""letterbox_image and correct_yolo_boxes of Darknet, compiled by its own Makefile (CONFORMANCE_SOURCES/darknet)."""

from __future__ import annotations

import ctypes
import functools
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, Case
from conformance.source import find

#: At 62 rows single precision falls short of the last one, which Darknet then leaves nearly black.
ALL = (*CASES, Case("exact", 62, 62))


class Image(ctypes.Structure):
    """`image` of darknet.h."""

    _fields_ = (("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int), ("data", ctypes.POINTER(ctypes.c_float)))


class Detection(ctypes.Structure):
    """`detection` of darknet.h."""

    _fields_ = (
        ("box", ctypes.c_float * 4), ("classes", ctypes.c_int), ("prob", ctypes.c_void_p), ("mask", ctypes.c_void_p),
        ("objectness", ctypes.c_float), ("sort_class", ctypes.c_int),
    )  # fmt: skip


@functools.cache
def library() -> ctypes.CDLL:
    """libdarknet.so by its own Makefile, with its own flags (-Ofast), without a GPU and without OpenCV."""
    root = find("darknet/src/image.c").parent.parent
    subprocess.run(["make", "-s", "obj", "libdarknet.so"], cwd=root, check=True, stdout=subprocess.DEVNULL)
    loaded = ctypes.CDLL(str(root / "libdarknet.so"))
    for name in ("letterbox_image", "resize_image"):
        getattr(loaded, name).restype = Image
        getattr(loaded, name).argtypes = [Image, ctypes.c_int, ctypes.c_int]
    return loaded


def version() -> str:
    """Of the checkout."""
    root = find("darknet/src/image.c").parent.parent
    return f"Darknet {(root / 'COMMIT').read_text().strip()[:12]}"


def by(function: str, rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """[3, height, width], as Darknet's load_image scales levels: in double precision, then single."""
    planes = np.ascontiguousarray((rgb.astype(np.float32) / 255.0).transpose(2, 0, 1), np.float32)
    image = Image(rgb.shape[1], rgb.shape[0], 3, planes.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    found = getattr(library(), function)(image, width, height)
    return np.ctypeslib.as_array(found.data, (3, height, width)).copy()


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    x1, y1, x2, y2 = BOX
    found = Detection()
    found.box[:] = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    library().correct_yolo_boxes(ctypes.byref(found), 1, rgb.shape[1], rgb.shape[0], width, height, 0)
    x, y, w, h = found.box
    return by("letterbox_image", rgb, height, width), (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
