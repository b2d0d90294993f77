"""Every preset against the pixels of the training code that it names; `scripts/preprocessing_fixtures.py` made the fixtures."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served_code
from conformance import pictures
from numpy.typing import NDArray

from generator.plugin import family
from generator.preprocessing import Preprocess

image = served_code.load("image")
PRESETS: dict[str, type[Preprocess]] = {
    name: kind
    for name, kind in family("generator.preprocessing").items()
    if issubclass(kind, Preprocess) and kind.imitates is not None
}
PROVEN = [name for name, kind in PRESETS.items() if kind.imitates is not None and kind.imitates.proven]
#: What 16 bits a value leave open, in levels, and single precision.
STORED = 0.01


def apart(kind: Preprocess, pixels: NDArray[np.uint8], case: pictures.Case, tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each value is from the library's tensor, in levels."""
    ours = kind.normalise(pixels[None])[0][:, case.rows].astype(np.float64)
    level = np.array(kind.scale, np.float64) / np.array(kind.std, np.float64)
    return np.asarray(np.abs(ours - tensor) / level[:, None, None])


def both(kind: Preprocess, case: pictures.Case) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Pixels and geometry by the served file and by the reference."""
    rgb = pictures.picture(case.picture)
    told = image.Settings.from_config(served_code.config(kind.parameters(case.height, case.width), case.height, case.width))
    return [image.prepare(rgb, told), kind.reference(rgb, case.height, case.width)]


def back(geometry: NDArray[np.float32]) -> NDArray[np.float64]:
    """The box of the canvas, on the picture, inside its edges as the served step and the libraries cut it."""
    sx, sy, ox, oy, w, h = (float(value) for value in geometry)
    return np.clip(np.array(pictures.moved(pictures.BOX, (sx, sy), (ox, oy))), 0, [w, h, w, h])


@pytest.mark.parametrize("name", PROVEN)
def test_the_served_pixels_are_the_librarys(name: str) -> None:
    imitates = PRESETS[name].imitates
    assert imitates is not None
    version, cases = pictures.load(name)
    assert version == imitates.proven
    worst = 0.0
    for case, tensor, _ in cases:
        kind = PRESETS[name].model_validate({"kind": name, **case.said})
        worst = max(worst, float(apart(kind, both(kind, case)[0][0], case, tensor).max()))
    assert worst <= imitates.tolerance + STORED, f"{worst:.3f} levels"
    assert worst >= imitates.tolerance * 0.9 - STORED, f"{worst:.3f} levels: state a smaller tolerance"


@pytest.mark.parametrize("name", PROVEN)
def test_the_reference_gives_the_librarys_pixels(name: str) -> None:
    """Within a level more, for OpenCV's fixed point; where it warps to a fraction of a pixel, a tie may take the next 32nd."""
    imitates = PRESETS[name].imitates
    assert imitates is not None
    ties = 0.04 if name == "nanodet_keep_ratio" else 0.0
    for case, tensor, _ in pictures.load(name)[1]:
        kind = PRESETS[name].model_validate({"kind": name, **case.said})
        far = apart(kind, both(kind, case)[1][0], case, tensor)
        assert (far > imitates.tolerance + 1 + STORED).mean() <= ties, (case, far.max())
        assert far.max() <= 5 + STORED, case


@pytest.mark.parametrize("name", PROVEN)
def test_boxes_go_back_as_the_library_takes_them(name: str) -> None:
    compared = 0
    for case, _, box in pictures.load(name)[1]:
        if np.isnan(box).any():  # a classifier, or an option that the library's own way back does not know
            continue
        kind = PRESETS[name].model_validate({"kind": name, **case.said})
        h, w = pictures.picture(case.picture).shape[:2]
        for _, geometry in both(kind, case):
            assert back(geometry) == pytest.approx(np.clip(box, 0, [w, h, w, h]), abs=2e-3, rel=1e-5), case
            compared += 1
    assert compared or issubclass(PRESETS[name], classifiers()), f"{name} carries boxes, and none was compared"


def classifiers() -> tuple[type[Preprocess], ...]:
    """Presets whose models give no boxes."""
    return tuple(kind for name, kind in PRESETS.items() if name.startswith(("keras", "timm", "torchvision_classification")))


def test_every_fixture_belongs_to_a_preset_that_says_so_and_is_small() -> None:
    files = {path.stem: path.stat().st_size for path in pictures.FIXTURES.glob("*.npz")}
    assert set(files) == set(PROVEN), "imitates.proven and the fixtures disagree"
    assert max(files.values()) <= 100_000
    assert sum(files.values()) < 1_500_000


@pytest.mark.parametrize("name", PROVEN)
def test_a_preset_has_a_maker_with_the_cases_that_are_stored(name: str) -> None:
    maker: Any = importlib.import_module(f"conformance.{name}")
    assert [case for case, _, _ in pictures.load(name)[1]] == list(maker.ALL)


def test_a_neighbouring_preset_would_be_noticed() -> None:
    """The check has teeth: what the presets differ in is more than their tolerance."""
    rules: list[tuple[str, dict[str, Any]]] = [
        ("yolox", {"rounding": "nearest"}),
        ("darknet", {"coordinates": "half_pixel"}),
        ("nanodet", {"coordinates": "half_pixel"}),
    ]
    rules += [("detr", {"antialias": False}), ("yolos", {"multiple": 1}), ("mmdet", {"rounding": "down"})]
    rules += [("ultralytics", {"pad_value": 113}), ("keras_tf", {"antialias": False}), ("rtmdet", {"channel_order": "RGB"})]
    for name, change in rules:
        imitates, far = PRESETS[name].imitates, 0.0
        assert imitates is not None
        for case, tensor, _ in pictures.load(name)[1]:
            kind = PRESETS[name].model_validate({"kind": name, **case.said, **change})
            far = max(far, float(apart(kind, both(kind, case)[0][0], case, tensor).max()))
        assert far > imitates.tolerance + 0.5, (name, change)


def test_the_page_of_presets_is_current(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("preprocessing_table", root / "scripts" / "preprocessing_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (root / "docs" / "preprocessing.md").read_text() == module.page(), "run: python scripts/preprocessing_table.py"
