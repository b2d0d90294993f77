"""Writes docs/preprocessing.md from the classes: which training code each preset imitates, and how far that is proven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generator import plugin
from generator.preprocessing import Preprocess

ROOT = Path(__file__).resolve().parent.parent

INTRODUCTION = """\
# Preprocessing that matches training

Made from the code by `make docs`; a test fails when it is out of date.

A picture that is resized otherwise than in training costs accuracy that no log shows. A preset is named after the training code
that it imitates and sets every field as that code does; each field can still be said otherwise:

```yaml
preprocess: {kind: yolox}
preprocess: {kind: timm, crop_pct: 0.95, interpolation: linear}
preprocess: {kind: ultralytics, size: [384, 640]}   # a model that leaves height and width free
preprocess: {kind: shortest_edge, shortest: 480, longest: 640, rounding: half_up, channel_order: BGR}
```

- The canvas is the model's input. `[batch, 3, height, width]` and `[batch, height, width, 3]` are told apart by themselves. Where
  the model leaves height and width free, `size` says them; they become fixed, and the shapes of the outputs follow from them.
- `stride`: the sides of the canvas must be multiples of it; `1` lifts that.
- Levels are `(pixel * scale - mean) / std`, in the graph: 0 to 1 is `scale: 1/255`, 0 to 255 is `scale: 1`, -1 to 1 is
  `scale: 1/127.5, mean: [1, 1, 1]`. A model of FP16 gets FP16, one of UINT8 the levels as they are.
- `geometry` carries boxes back to the photo the way the training code does, which is not always where its pixels lie.

## Presets

**Distance**: the greatest between the pixels that the served `model.py` makes and the library's, in levels of 0 to 255, over
pictures that are tall, wide, tiny, one pixel, an exact fit, odd, smooth, and larger than the canvas. The boxes agree within
0.002 pixels of the photo. The NumPy reference that `triton-repo verify` uses lies within one level more.
"""

AFTERWARDS = """\
## Where there is a distance, and what is left open

- The step hands over whole levels (a quarter of the bytes). Libraries that resize floats (Darknet, torchvision's detectors) do
  not round there: half a level. torchvision's are computed by OpenCV here, in fixed point: a quarter more.
- DETR, YOLOS, MMDetection and torchvision pad with 0 after normalising: the mean colour, which is no whole level.
- transformers resizes by Pillow or by torchvision; the presets are Pillow's, the other lies within a level of it.
- Pillow 13 may do rows before columns where Pillow 12 did not, and then differs from itself by a level or two. The served step
  does columns first with both; the fixtures are Pillow 12's.
- `nanodet_keep_ratio` centres by a fraction of a pixel. Where a sample lies half-way between two 32nds of a pixel, OpenCV and the
  reference may take different ones: a few pixels differ by several levels in `verify`, though those served are NanoDet's own.
- Darknet cannot make a picture one row high (it reads outside its memory); such a row is the picture's first here.
- A letterboxed side is at least one pixel here; YOLOX, effdet and yolov5 raise an error for thinner ones.
- JPEG decoders differ by a level or two. All of this starts from the decoded picture.
- A canvas has one size. The minimal rectangles of `rect` inference (ultralytics) are those of a model exported at that size.

## Making the fixtures again

`tests/conformance/<kind>.py` calls the library; `scripts/preprocessing_fixtures.py` stores what it gives in
`tests/fixtures/preprocessing/<kind>.npz` (every row of small canvases, six of large ones), in an environment of its own:

```text
python -m venv env && env/bin/pip install torch==2.13.0 torchvision==0.28.0 "pillow<13" "opencv-python-headless<5" scikit-image
env/bin/pip install transformers==5.23.0 timm==1.0.31 keras==3.15.1 h5py
env/bin/pip install --no-deps ultralytics==8.4.190 yolov5==7.0.14 effdet==0.4.1 paddledet==2.6.0 mmcv-lite==2.2.0 mmengine==0.10.7
env/bin/pip install addict yapf termcolor platformdirs rich
# sources/darknet and sources/nanodet are checkouts with their commit in a file COMMIT, sources/yolox-0.3.0 is the sdist
CONFORMANCE_SOURCES=sources env/bin/python scripts/preprocessing_fixtures.py [KIND ...]
```

`Resize` and `letterbox` of libraries whose import would need more than they use (paddle, pandas) are taken out of the library's
own file, unchanged (`tests/conformance/source.py`).
"""


def page() -> str:
    """The whole page, as Markdown."""
    head = ["| kind | imitates | distance | proven with |", "|---|---|---|---|"]
    changed = ["## What a preset sets", "", "| kind | fields |", "|---|---|"]
    return "\n".join([INTRODUCTION, *head, *_presets(), "", *changed, *_fields(), "", AFTERWARDS])


def _kinds() -> Iterator[tuple[str, type[Preprocess]]]:
    for name, kind in plugin.family("generator.preprocessing").items():
        assert issubclass(kind, Preprocess)
        if kind.imitates is not None:
            yield name, kind


def _presets() -> Iterator[str]:
    for name, kind in _kinds():
        assert kind.imitates is not None
        code = f"[{kind.imitates.code}]({kind.imitates.source})"
        if kind.imitates.proven:
            reason = f" ({kind.imitates.reason})" if kind.imitates.reason else ""
            yield f"| `{name}` | {code} | {kind.imitates.tolerance:g}{reason} | {kind.imitates.proven} |"
        else:
            yield f"| `{name}` | {code} | | **unproven** |"


def _fields() -> Iterator[str]:
    """Of each preset, its generic kind and what it says otherwise."""
    for name, kind in _kinds():
        base = kind.__mro__[1].__module__.rsplit(".", 1)[1]
        yield f"| `{name}` | {base}: {', '.join(f'{key} {_value(value)}' for key, value in kind.preset.items())} |"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    (ROOT / "docs" / "preprocessing.md").write_text(page(), encoding="utf-8")
