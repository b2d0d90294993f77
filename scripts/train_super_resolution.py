"""Train the small super-resolution network of examples/super_resolution.py, on scikit-image's own photos.

    python scripts/train_super_resolution.py [--steps 1500] [--output examples/super_resolution.pt]

About ten minutes of one core. Writes the state dict (about 120 KB), then prints how far the network and plain bicubic
upsampling are from a photo that it never saw (astronaut), at x2, x3 and x4. The seed is fixed; another processor may round
differently, so no digest is promised.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

SEED = 20261121
FACTORS = (2, 3, 4)
#: Height and width of a training view in pixels: every factor divides it.
SIZE = 60
VIEWS = 32
PHOTOS = (
    "chelsea",
    "coffee",
    "rocket",
    "stereo_motorcycle",
    "camera",
    "brick",
    "grass",
    "gravel",
    "coins",
    "page",
    "text",
    "logo",
)
HELD_OUT = "astronaut"


def main(arguments: list[str] | None = None) -> int:
    """0 when the network is written and better than bicubic on the photo that it never saw."""
    from super_resolution import SuperResolution

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--output", type=Path, default=ROOT / "examples" / "super_resolution.pt")
    options = parser.parse_args(arguments)
    torch.manual_seed(SEED)
    network = SuperResolution()
    train(network, [brightness(name) for name in PHOTOS], options.steps)
    torch.save(network.state_dict(), options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")
    photo, better = brightness(HELD_OUT), True
    for factor in FACTORS:
        bicubic, network_ = psnr(network, photo, factor)
        better &= network_ > bicubic
        print(f"{HELD_OUT} x{factor}: bicubic {bicubic:.2f} dB, network {network_:.2f} dB ({network_ - bicubic:+.2f})")
    return 0 if better else 1


def brightness(name: str) -> Tensor:
    """A photo of scikit-image as [1, 1, height, width] in 0..1."""
    from skimage import color, data

    photo: Any = getattr(data, name)()
    photo = photo[0] if isinstance(photo, tuple) else photo
    photo = color.rgb2gray(photo[..., :3]) if photo.ndim == 3 else photo / 255
    return torch.from_numpy(photo).float()[None, None]


def train(network: torch.nn.Module, photos: list[Tensor], steps: int) -> None:
    """Random views, turned and mirrored; a factor a step; the mean absolute difference, Adam, a cosine's rate."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    started = time.perf_counter()
    for step in range(steps):
        factor = FACTORS[step % len(FACTORS)]
        wanted = torch.cat([view(photos) for _ in range(VIEWS)])
        loss = functional.l1_loss(network(smaller(wanted, factor), torch.full((2,), float(factor))), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()
        schedule.step()
        if step % 250 == 0:
            print(f"step {step}: {loss.item():.4f}, {time.perf_counter() - started:.0f} s", flush=True)


def view(photos: list[Tensor]) -> Tensor:
    """A part of one photo, [1, 1, SIZE, SIZE]."""
    photo = photos[int(torch.randint(len(photos), ()))]
    top, left = (int(torch.randint(length - SIZE + 1, ())) for length in photo.shape[2:])
    part = photo[..., top : top + SIZE, left : left + SIZE]
    part = part.rot90(int(torch.randint(4, ())), (2, 3))
    return part.flip(3) if torch.rand(()) < 0.5 else part


def smaller(photo: Tensor, factor: int) -> Tensor:
    """Bicubic and antialiased, as pictures are usually made smaller."""
    size = [length // factor for length in photo.shape[2:]]
    return functional.interpolate(photo, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def psnr(network: torch.nn.Module, photo: Tensor, factor: int) -> tuple[float, float]:
    """Peak signal-to-noise ratio in dB of bicubic upsampling and of the network, edges of `factor` pixels left out."""
    photo = photo[..., : photo.shape[2] // factor * factor, : photo.shape[3] // factor * factor]
    with torch.no_grad():
        small = smaller(photo, factor)
        found = network(small, torch.full((2,), float(factor))).clamp(0, 1)
    plain = functional.interpolate(small, scale_factor=float(factor), mode="bicubic", align_corners=False).clamp(0, 1)
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    first, second = (-10 * math.log10(functional.mse_loss(each[inner], photo[inner]).item()) for each in (plain, found))
    return first, second


if __name__ == "__main__":
    sys.exit(main())
