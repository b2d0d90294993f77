"""Darknet's own file format: cfg sections and the layout of .weights, read without torch.

cfg: ini-like, `[section]` repeated, `key=value`. weights: int32 major, minor, revision; images seen as int64 where
major*10+minor >= 2 and int32 before; then float32, layer by layer (parser.c, load_convolutional_weights): for each convolution
bias, then with batch_normalize scale, running mean, running variance, then the kernel [out, in/groups, k, k].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generator.errors import CheckpointError
from generator.file_kind import unreadable

#: Layers whose input is a raw output.
HEADS = ("yolo", "region")


@dataclass(frozen=True)
class Section:
    """One `[section]` of the cfg with its line."""

    kind: str
    values: dict[str, str]
    line: int
    path: Path

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer option."""
        return int(self._number(key, default))

    def number(self, key: str, default: float | None = None) -> float:
        """A float option."""
        return self._number(key, default)

    def numbers(self, key: str) -> list[float]:
        """A comma-separated list."""
        try:
            return [float(v) for v in self.values.get(key, "").split(",") if v.strip()]
        except ValueError:
            raise self.error(f"{key}={self.values[key]!r} is not a list of numbers") from None

    def _number(self, key: str, default: float | None) -> float:
        if key not in self.values:
            if default is None:
                raise self.error(f"{key} is missing")
            return default
        try:
            return float(self.values[key])
        except ValueError:
            raise self.error(f"{key}={self.values[key]!r} is not a number") from None

    def error(self, what: str) -> CheckpointError:
        """A CheckpointError that points at this section."""
        return CheckpointError(f"{self.path}:{self.line}: [{self.kind}]: {what}", "use the cfg that belongs to the weights")


def read_cfg(path: Path) -> list[Section]:
    """The sections in order, `[net]` first. Raises CheckpointError with the line."""
    sections: list[Section] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not a Darknet cfg: {error}", "name the .cfg file") from None
    for number, raw in enumerate(lines, 1):
        text = raw.split("#")[0].split(";")[0].strip()
        if text.startswith("[") and text.endswith("]"):
            sections.append(Section(text[1:-1].strip(), {}, number, path))
        elif "=" in text and sections:
            key, value = text.split("=", 1)
            sections[-1].values[key.strip()] = value.strip()
        elif text:
            raise CheckpointError(
                f"{path}:{number}: found {text[:40]!r}, expected [section] or key=value", "is this a Darknet cfg?"
            )
    if not sections or sections[0].kind not in ("net", "network"):
        raise CheckpointError(f"{path}: the first section is not [net]", "is this a Darknet cfg?")
    return sections


def read_weights(path: Path) -> NDArray[np.float32]:
    """All floats behind the header. Raises CheckpointError for a file that cannot be one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "name a readable .weights file") from None
    if len(data) < 20:
        raise CheckpointError(f"{path}: {len(data)} bytes, shorter than a Darknet header", "fetch it again")
    major, minor = np.frombuffer(data, np.int32, 2)
    if not (0 <= major < 100 and 0 <= minor < 100):
        raise unreadable(path, "Darknet weights", f"its version words are {major} and {minor}")
    header = 20 if major * 10 + minor >= 2 else 16
    if (len(data) - header) % 4:
        raise CheckpointError(
            f"{path}: {len(data)} bytes do not hold whole float32 values", "the file was cut short: fetch it again"
        )
    return np.frombuffer(data, np.float32, offset=header)


@dataclass(frozen=True)
class Layer:
    """A section with the shape it gives: channels, height, width; `sources` are the layers it reads."""

    section: Section
    shape: tuple[int, int, int]
    sources: tuple[int, ...]


def layers(sections: list[Section]) -> list[Layer]:
    """Shapes of every layer, as Darknet's parser works them out. Raises CheckpointError for a layer that is not supported."""
    net = sections[0]
    image = (net.integer("channels", 3), net.integer("height"), net.integer("width"))
    done: list[Layer] = []
    for section in sections[1:]:
        done.append(_layer(section, image, done))
    return done


def _layer(section: Section, image: tuple[int, int, int], done: list[Layer]) -> Layer:
    here = len(done)
    sources = _sources(section, here)
    if any(not -1 <= source < here for source in sources):
        raise section.error(f"reads layer {sources}, there are {here} before it")
    shapes = [image if source < 0 else done[source].shape for source in sources]
    c, h, w = shapes[0]
    if section.kind == "convolutional":
        k, s = section.integer("size", 1), section.integer("stride", 1)
        p = padding(section)
        shape = (section.integer("filters"), (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1)
    elif section.kind == "maxpool":
        k, s = section.integer("size"), section.integer("stride", 1)
        p = section.integer("padding", k - 1)
        shape = (c, (h + p - k) // s + 1, (w + p - k) // s + 1)
    elif section.kind == "upsample":
        shape = (c, h * section.integer("stride", 2), w * section.integer("stride", 2))
    elif section.kind == "route":
        if len({s[1:] for s in shapes}) != 1:
            raise section.error(f"joins layers of different sizes {shapes}")
        shape = (sum(s[0] for s in shapes) // section.integer("groups", 1), h, w)
    elif section.kind == "reorg":
        shape = _reorg(section, c, h, w)
    elif section.kind in ("shortcut", "yolo", "region"):
        shape = (c, h, w)
    else:
        known = "convolutional, maxpool, upsample, route, shortcut, reorg, yolo, region"
        raise section.error(f"this layer is not supported ({known} are)")
    return Layer(section, shape, sources)


def _reorg(section: Section, c: int, h: int, w: int) -> tuple[int, int, int]:
    s = section.integer("stride", 1)
    if section.integer("reverse", 0) or c % (s * s) or h % s or w % s:
        raise section.error(f"stride={s} of {c}x{h}x{w}: reverse, and sizes that it does not divide, are not supported")
    return c * s * s, h // s, w // s


def padding(section: Section) -> int:
    """Darknet: `pad=1` means size // 2, else `padding`."""
    return section.integer("size", 1) // 2 if section.integer("pad", 0) else section.integer("padding", 0)


def _sources(section: Section, here: int) -> tuple[int, ...]:
    if section.kind == "route":
        named = [int(v) for v in section.numbers("layers")]
    elif section.kind == "shortcut":
        named = [-1, int(section.numbers("from")[0])]
    else:
        return (here - 1,)
    if not named:
        raise section.error("layers is missing")
    return tuple(here + v if v < 0 else v for v in named)
