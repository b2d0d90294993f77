"""Draw what the served super-resolution network makes of a photo that it never saw, at x2, x3 and x4.

    triton-repo build examples/super_resolution.yaml -o model_repository
    triton-repo serve &
    python scripts/super_resolution_picture.py [--url 127.0.0.1:8001] [--output docs/images/super_resolution.png]

One model, one connection: only the input `scales` differs between the rows. Each shows the small picture (its pixels enlarged),
bicubic upsampling, the served answer, and the photo that the small one was made from; peak signal-to-noise ratio in dB.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
MODEL, HELD_OUT = "super_resolution", "astronaut"
FACTORS = (2, 3, 4)
#: Top, left and edge in pixels of the part that is shown; 2, 3 and 4 divide the edge.
TOP, LEFT, EDGE = 12, 96, 228
GAP, TITLE = 6, 22

Picture = NDArray[np.float32]


def main(arguments: list[str] | None = None) -> int:
    """0 when the picture is written."""
    from skimage import data

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="127.0.0.1:8001")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "super_resolution.png")
    options = parser.parse_args(arguments)
    held_out: Any = getattr(data, HELD_OUT)()
    photo = Image.fromarray(held_out).crop((LEFT, TOP, LEFT + EDGE, TOP + EDGE))
    with triton.InferenceServerClient(options.url) as client:
        rows = [row(client, photo, factor) for factor in FACTORS]
    page(rows).save(options.output, optimize=True)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")
    return 0


def row(client: Any, photo: Image.Image, factor: int) -> list[tuple[str, Image.Image]]:
    """Titles and pictures of one factor."""
    small = photo.resize((EDGE // factor, EDGE // factor), Image.Resampling.BICUBIC)
    plain = small.resize(photo.size, Image.Resampling.BICUBIC)
    served = from_planes(enlarged(client, to_planes(small), (factor, factor)))
    return [
        (f"{small.width} x {small.height}", small.resize(photo.size, Image.Resampling.NEAREST)),
        (f"bicubic x{factor}: {psnr(plain, photo):.2f} dB", plain),
        (f"served, scales [{factor}, {factor}]: {psnr(served, photo):.2f} dB", served),
        ("photo", photo),
    ]


def enlarged(client: Any, image: Picture, scales: tuple[float, float]) -> Picture:
    """The served answer: [planes, 1, height, width] in 0..1 -> [planes, 1, height * scale, width * scale]."""
    requests = []
    for name, values in (("image", image), ("scales", np.array(scales, np.float32))):
        requests.append(triton.InferInput(name, list(values.shape), "FP32"))
        requests[-1].set_data_from_numpy(values)
    answer: Picture = client.infer(MODEL, requests).as_numpy("enlarged")
    return answer


def to_planes(picture: Image.Image) -> Picture:
    """Red, green and blue as three pictures of brightness: a batch."""
    return np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)[:, None] / 255)


def from_planes(planes: Picture) -> Image.Image:
    """The other way."""
    return Image.fromarray((planes[:, 0].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8))


def psnr(found: Image.Image, wanted: Image.Image) -> float:
    """Over all channels, in dB."""
    difference = np.asarray(found, np.float64) - np.asarray(wanted, np.float64)
    return 20 * math.log10(255) - 10 * math.log10(float((difference**2).mean()))


def page(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """All of them on white."""
    width, height = len(rows[0]) * (EDGE + GAP) + GAP, len(rows) * (EDGE + TITLE) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, pictures in enumerate(rows):
        for column, (title, picture) in enumerate(pictures):
            left, top = GAP + column * (EDGE + GAP), line * (EDGE + TITLE)
            draw.text((left, top + 4), title, fill="black", font=font)
            sheet.paste(picture, (left, top + TITLE))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
