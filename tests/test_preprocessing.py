"""Resampling and placement: the NumPy references against OpenCV and Pillow, and the server's code against the references.

OpenCV computes linear and cubic in fixed point, so its pixels may lie one level beside the exact value; the others must be equal.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import served_code
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from generator.plugin import family
from generator.preprocessing import Preprocess
from generator.preprocessing.center_crop import CenterCrop
from generator.preprocessing.letterbox import Letterbox
from generator.preprocessing.shortest_edge import ShortestEdge
from generator.preprocessing.stretch import Stretch
from generator.resample import resample

image = served_code.load("image")
#: How many levels a pixel of OpenCV's may lie from the exact value.
LEVELS = {"nearest": 0, "linear": 1, "cubic": 1}
CV2 = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
PILLOW = {"nearest": Image.Resampling.NEAREST, "linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}
SIZES = [(37, 23), (23, 37), (1, 1), (1, 40), (40, 1), (64, 64), (63, 65), (2, 97)]


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng([seed, width, height]).integers(0, 256, (height, width, 3), np.uint8)


def apart(a: NDArray[Any], b: NDArray[Any]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("interpolation", list(CV2))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", SIZES)
def test_resampling_is_opencvs(interpolation: str, size: tuple[int, int], new: tuple[int, int]) -> None:
    rgb = noise(*size)
    wanted = cv2.resize(rgb, new, interpolation=CV2[interpolation])
    assert apart(resample(rgb, new, interpolation, False), wanted) <= LEVELS[interpolation]


@pytest.mark.parametrize("interpolation", list(PILLOW))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", SIZES)
def test_antialiased_resampling_is_pillows(interpolation: str, size: tuple[int, int], new: tuple[int, int]) -> None:
    rgb = noise(*size)
    columns = Image.fromarray(rgb).resize((new[0], size[1]), PILLOW[interpolation])
    wanted = np.asarray(columns.resize(new, PILLOW[interpolation]))
    assert apart(resample(rgb, new, interpolation, True), wanted) == 0


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("new", [(20, 90), (90, 20), (20, 15), (100, 120)])
def test_columns_before_rows_is_what_pillow_does_in_one_step(interpolation: str, new: tuple[int, int]) -> None:
    """Pillow 13 may take the rows first: away from black and white, where nothing is cut off, that is rounding only."""
    rgb = (noise(60, 50) // 2 + 64).astype(np.uint8)
    at_once = np.asarray(Image.fromarray(rgb).resize(new, PILLOW[interpolation]))
    assert apart(resample(rgb, new, interpolation, True), at_once) <= 2


def test_nearest_takes_opencvs_pixel_at_every_ratio() -> None:
    """Where floor(x * scale) meets a whole number, the last bit decides which pixel it is."""
    for n in range(1, 60):
        row = np.arange(n, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
        for m in range(1, 130):
            wanted = cv2.resize(row, (m, 1), interpolation=cv2.INTER_NEAREST)
            assert apart(resample(row, (m, 1), "nearest", False), wanted) == 0, (n, m)


def test_antialiasing_sees_the_pixels_that_a_reduction_skips() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = 240
    assert resample(stripes, (8, 8), "linear", False).max() == 0
    assert abs(int(resample(stripes, (8, 8), "linear", True)[4, 4, 0]) - 30) <= 1


def test_letterbox_is_opencvs_copy_make_border() -> None:
    """As YOLOv5's `letterbox` does it: resize, then a border of which the odd pixel goes to the right and the bottom."""
    rgb = noise(81, 108)  # * 416 / 108 -> 312 x 416, 52 free on each side
    pixels, geometry = Letterbox().reference(rgb, 416, 416)
    inner = cv2.resize(rgb, (312, 416), interpolation=cv2.INTER_LINEAR)
    wanted = cv2.copyMakeBorder(inner, 0, 0, 52, 52, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    assert apart(pixels, wanted) <= 1
    assert geometry.tolist() == pytest.approx([312 / 81, 416 / 108, 52, 0, 81, 108])
    assert Letterbox().reference(noise(81, 108), 416, 417)[1][2] == 52  # 105 free: 52 left, 53 right


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        (Letterbox(anchor="top_left"), (50, 20), [2, 2, 0, 0, 50, 20]),
        (Letterbox(scale_up=False), (50, 20), [1, 1, 25, 40, 50, 20]),
        (Letterbox(scale_up=False), (200, 400), [0.25, 0.25, 25, 0, 200, 400]),
        (Stretch(), (50, 20), [2, 5, 0, 0, 50, 20]),
        (CenterCrop(resize=120), (60, 40), [3, 3, -40, -10, 60, 40]),
        (CenterCrop(resize=120), (40, 61), [3, 3, -10, -42, 40, 61]),  # (183 - 100) / 2 = 41.5, to the even neighbour
        (CenterCrop(resize=60), (50, 50), [1.2, 1.2, 20, 20, 50, 50]),
    ],
)
def test_geometry(kind: Preprocess, size: tuple[int, int], expected: list[float]) -> None:
    assert kind.reference(noise(*size), 100, 100)[1].tolist() == pytest.approx(expected)


def kinds() -> st.SearchStrategy[Preprocess]:
    common = {
        "interpolation": st.sampled_from(["nearest", "linear", "cubic"]),
        "channel_order": st.sampled_from(["RGB", "BGR"]),
    }
    level, flag = st.integers(0, 255), st.booleans()
    anchor, geometry = st.sampled_from(["centre", "top_left"]), st.sampled_from(["resized", "ratio", "relative"])
    pads = st.one_of(level, st.tuples(level, level, level))
    boxed = {"anchor": anchor, "pad_value": pads, "geometry": geometry, "channel_order": common["channel_order"]}
    rounding = st.sampled_from(["nearest", "half_up", "down"])
    letterbox = st.builds(
        Letterbox, scale_up=flag, rounding=rounding, antialias=flag, **boxed, interpolation=common["interpolation"]
    )
    darknet = st.builds(Letterbox, rounding=st.just("integer"), coordinates=st.just("align_corners"), **boxed)
    edge = st.builds(
        ShortestEdge,
        shortest=st.integers(1, 40),
        longest=st.integers(20, 80),
        rounding=st.sampled_from(["nearest", "half_up", "down", "edge"]),
        multiple=st.sampled_from([1, 4]),
        antialias=flag,
        pad_value=pads,
        **common,
    )
    crop = st.builds(CenterCrop, resize=st.integers(1, 60), antialias=flag, pad_value=level, **common)
    warped = st.builds(Stretch, coordinates=st.just("asymmetric"), channel_order=common["channel_order"])
    return st.one_of(letterbox, darknet, edge, crop, st.builds(Stretch, antialias=flag, **common), warped)


sides = st.one_of(st.integers(1, 4), st.integers(1, 80))


@settings(max_examples=500, deadline=None)
@given(kinds(), sides, sides, st.integers(1, 40), st.integers(1, 40))
def test_the_server_does_as_the_reference(kind: Preprocess, w: int, h: int, height: int, width: int) -> None:
    rgb = noise(w, h)
    told = image.Settings.from_config(served_code.config(kind.parameters(height, width), height, width))
    pixels, geometry = image.prepare(rgb, told)
    wanted, place = kind.reference(rgb, height, width)
    assert pixels.dtype == wanted.dtype == np.uint8
    antialiased = getattr(kind, "antialias", False)
    assert apart(pixels, wanted) <= (0 if antialiased else LEVELS[kind.interpolation])
    assert geometry.tolist() == place.tolist()


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize(("width", "height"), [(90, 20), (20, 90), (20, 15), (100, 120)])
def test_the_antialiased_pixels_do_not_depend_on_pillows_choice_of_order(interpolation: Any, width: int, height: int) -> None:
    """Pillow 12 is in the server's environment, Pillow 13 may be in the one that verifies."""
    kind = Stretch(antialias=True, interpolation=interpolation)
    told = image.Settings.from_config(served_code.config(kind.parameters(height, width), height, width))
    assert apart(image.prepare(noise(60, 50), told)[0], kind.reference(noise(60, 50), height, width)[0]) == 0


@settings(max_examples=100, deadline=None)
@given(kinds(), st.integers(8, 80), st.integers(8, 80))
def test_geometry_says_where_the_pixels_lie(kind: Preprocess, w: int, h: int) -> None:
    """The middle of the canvas, mapped back to the original, holds the same colour of a smooth ramp."""
    ramp = np.zeros((h, w, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(20, 230, w)[None, :], np.linspace(20, 230, h)[:, None]
    told = image.Settings.from_config(served_code.config(kind.parameters(64, 64), 64, 64))
    pixels, (sx, sy, ox, oy, gw, gh) = image.prepare(ramp, told)
    assert (gw, gh) == (w, h)
    red, green = (2, 1) if kind.channel_order == "BGR" else (0, 1)
    for y, x in [(32, 32), (20, 40), (45, 10)]:
        u, v = (x + 0.5 - ox) / sx, (y + 0.5 - oy) / sy
        if not (1 <= u <= w - 1 and 1 <= v <= h - 1):
            continue  # padding, or the ramp's end
        step_x, step_y = 210 / (w - 1), 210 / (h - 1)
        # a pixel of the original (nearest), or of the canvas where that is the coarser, plus rounding
        assert abs(pixels[y, x, red] - (20 + (u - 0.5) * step_x)) <= step_x * max(1, 1 / sx) + 2
        assert abs(pixels[y, x, green] - (20 + (v - 0.5) * step_y)) <= step_y * max(1, 1 / sy) + 2


@pytest.mark.parametrize(("w", "h"), [(1, 10000), (10000, 1), (1, 1), (3, 100_000)])
@pytest.mark.parametrize("kind", [Letterbox(), Stretch(), Stretch(antialias=True)])
def test_elongated_pictures_are_answered(kind: Preprocess, w: int, h: int) -> None:
    rgb = np.full((h, w, 3), 200, np.uint8)
    told = image.Settings.from_config(served_code.config(kind.parameters(64, 96), 64, 96))
    pixels, geometry = image.prepare(rgb, told)
    assert (pixels == 200).any(), "at least one pixel of the picture is left"
    assert (geometry[:2] > 0).all()


def test_a_crop_of_an_elongated_picture_is_refused_before_it_is_made() -> None:
    told = image.Settings.from_config(served_code.config(CenterCrop(resize=256).parameters(224, 224), 224, 224))
    with pytest.raises(image.BadImageError, match="1 x 10000 pixels: resized to 256 x 2560000"):
        image.prepare(np.zeros((10000, 1, 3), np.uint8), told)


def test_every_kind_is_told_to_the_server_in_words_it_knows() -> None:
    given_back: dict[str, Preprocess] = {}
    for name, kind in family("generator.preprocessing").items():
        made = kind.model_validate({"kind": name, "max_pixels": 7, **({"resize": 9} if name == "center_crop" else {})})
        assert isinstance(made, Preprocess)
        said = made.parameters(5, 6)
        told = image.Settings.from_config(served_code.config(said, 5, 6))
        assert (told.height, told.width, told.max_pixels) == (5, 6, 7)
        assert set(said) <= set(image.Settings.__dataclass_fields__), "a word the server does not know would go unheard"
        for key, text in said.items():
            assert str(getattr(told, key)).lower().strip("()").replace(" ", "") == text.lower(), key
        given_back[name] = made
    assert set(given_back) > {"letterbox", "center_crop", "stretch", "shortest_edge"}


def test_settings_leave_the_parameters_of_others_alone_and_the_batch_axis_out() -> None:
    config = served_code.config({"EXECUTION_ENV_PATH": "/env.tar.gz", "threads": "3", "scale_up": "false"}, 5, 6)
    config["output"][0]["dims"].insert(0, "-1")
    told = image.Settings.from_config(config)
    assert (told.height, told.width, told.threads, told.scale_up) == (5, 6, 3, False)


def test_normalise_is_the_formula() -> None:
    kind = Stretch(scale=0.5, mean=(1, 2, 3), std=(2, 4, 8))
    values = kind.normalise(np.array([[[[10, 20, 30]]]], np.uint8))
    assert values.shape == (1, 3, 1, 1)
    assert values.ravel().tolist() == [2, 2, 1.5]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Letterbox, {"pad_value": 256}),
        (Letterbox, {"interpolation": "lanczos"}),
        (Letterbox, {"scale": 0}),
        (CenterCrop, {}),
        (CenterCrop, {"resize": 0}),
        (Stretch, {"anchor": "centre"}),
        (ShortestEdge, {"rounding": "integer"}),
        (Letterbox, {"pad_value": (1, 2)}),
        (Letterbox, {"coordinates": "asymmetric", "antialias": True}),
        (Stretch, {"coordinates": "align_corners", "interpolation": "cubic"}),
    ],
)
def test_what_a_kind_does_not_take_is_refused(kind: type[Preprocess], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**wrong)
