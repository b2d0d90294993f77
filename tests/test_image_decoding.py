"""Encoded bytes on the server: every odd kind of picture gives the right pixels, every bad one a message."""

from __future__ import annotations

import io
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import served_code
from numpy.typing import NDArray
from PIL import Image, ImageOps

image = served_code.load("image")
LIMIT = 120_000_000


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 66, height: int = 50) -> Image.Image:
    """Smooth shapes with some noise, as a camera gives."""
    y, x = np.mgrid[:height, :width]
    levels = np.stack([90 + 80 * np.sin(x / 9), 120 + 90 * np.cos(y / 7), 60 + 2.0 * (x + y) % 150], axis=2)
    levels += np.random.default_rng(3).normal(0, 6, levels.shape)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Written by hand: Pillow cannot write all that it reads."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def decoded(data: bytes, limit: int = LIMIT) -> NDArray[np.uint8]:
    rgb: NDArray[np.uint8] = image.decode(data, limit)
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    return rgb


def refused(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(image.BadImageError) as caught:
        image.decode(data, limit)
    return str(caught.value)


JPEG, PNG = encode(photo(), "JPEG", quality=90), encode(photo(), "PNG")


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 40}, {"optimize": True}, {"restart_marker_blocks": 4}],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_what_pillow_and_opencv_read(mode: str, options: dict[str, Any]) -> None:
    data = encode(photo().convert(mode), "JPEG", **options)
    rgb = decoded(data)
    assert (rgb == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert theirs is not None
    assert (rgb == theirs[..., ::-1]).all()


def test_opencv_decodes_the_common_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast way is taken (Pillow would give the same, in twice the time), also with an end marker inside a thumbnail."""
    monkeypatch.setattr(image, "_rgb", lambda _: pytest.fail("Pillow was asked"))
    decoded(JPEG)
    decoded(with_thumbnail())
    decoded(JPEG + b"what some cameras leave behind")


def with_thumbnail() -> bytes:
    thumbnail = encode(photo().resize((16, 12)), "JPEG")
    segment = b"Exif\0\0" + thumbnail
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]


@pytest.mark.parametrize("whole", [JPEG, with_thumbnail(), encode(photo(), "JPEG", progressive=True)])
def test_a_jpeg_cut_anywhere_is_refused(whole: bytes) -> None:
    for end in [*range(1, 40), *range(40, len(whole) - 40, 61), *range(len(whole) - 40, len(whole))]:
        message = refused(whole[:end])
        assert "cut off" in message or "truncated" in message.lower() or "cannot be decoded" in message, (end, message)


def test_a_png_cut_anywhere_is_refused_or_whole() -> None:
    """Behind the last row there are checksums only: a file without them still has every pixel."""
    wanted, refusals = np.asarray(photo()), []
    for end in [*range(1, 60), *range(60, len(PNG), 61), *range(len(PNG) - 30, len(PNG))]:
        try:
            rgb = decoded(PNG[:end])
        except image.BadImageError as error:
            refusals.append(str(error))
        else:
            assert end > len(PNG) - 24
            assert (rgb == wanted).all(), end
    assert len(refusals) > 100
    assert {message.split(":")[0] for message in refusals} == {"cannot be decoded"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no bytes"),
        (b"hello, is this a picture?", "neither JPEG nor PNG: it begins with b'hello, i'"),
        (b"\0" * 100, "neither JPEG nor PNG"),
        (encode(photo(), "GIF"), "neither JPEG nor PNG: it begins with b'GIF87a"),
        (encode(photo(), "BMP"), r"neither JPEG nor PNG: it begins with b.BM"),
        (encode(photo(), "TIFF"), "neither JPEG nor PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "neither JPEG nor PNG"),
        (JPEG[:2], r"begins as a JPEG does, but its header is cut off or damaged \(2 bytes\)"),
        (PNG[:16], "cannot be decoded"),
        (PNG[:40] + b"\0\0\0" + PNG[43:], "begins as a PNG does, but its header is cut off or damaged"),
        (PNG[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"0" * 100_000_000)) + PNG[33:], "too large"),
        (png(0, 5, 8, 2, b""), "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, message: str) -> None:
    assert re.search(message, refused(data))


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 255, 256, 4096, 32768, 65535]], np.uint16)
    rgb = decoded(encode(Image.fromarray(levels), "PNG"))
    assert rgb[0].tolist() == [[v, v, v] for v in (0, 0, 1, 16, 128, 255)]


def test_16_bit_colours_and_alpha() -> None:
    colour = decoded(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 256, 65535, 32768, 4096, 255)))
    assert colour[0].tolist() == [[0, 1, 255], [128, 16, 0]]
    with_alpha = decoded(png(1, 1, 16, 6, b"\0" + struct.pack(">4H", 2560, 5120, 7680, 0)))
    assert with_alpha[0].tolist() == [[10, 20, 30]]
    grey_alpha = decoded(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 2560, 0)))
    assert grey_alpha[0].tolist() == [[10, 10, 10]]


def cmyk() -> bytes:
    """Inks stored inverted, as Adobe does and marks."""
    return encode(photo().convert("CMYK"), "JPEG", quality=95)


def ycck() -> bytes:
    """The same inks as luma and chroma; Pillow cannot write that, so the channels are made here and the marker is changed."""
    luma = np.asarray(photo().convert("YCbCr"))
    no_black = np.zeros_like(luma[..., :1])
    data = encode(Image.fromarray(np.concatenate([luma, no_black], axis=2), "CMYK"), "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    return data[:transform] + b"\x02" + data[transform + 1 :]


@pytest.mark.parametrize("make", [cmyk, ycck])
def test_four_inks_give_the_picture_not_its_negative(make: Callable[[], bytes]) -> None:
    data = make()
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "CMYK"
    assert np.abs(decoded(data).astype(int) - np.asarray(photo())).mean() < 6
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert theirs is not None
    assert np.abs(decoded(data).astype(int) - theirs[..., ::-1]).mean() < 3


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_levels_of_grey(bits: int) -> None:
    highest = 2**bits - 1
    row = bytes([0, highest << (8 - bits)])  # one byte of padding filter, one pixel at full level, the others black
    rgb = decoded(png(8 // bits, 1, bits, 0, row))
    assert rgb[0, 0].tolist() == [255] * 3
    assert (rgb[0, 1:] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_modes_of_png(mode: str) -> None:
    picture = photo().convert(mode)
    rgb = decoded(encode(picture, "PNG"))
    assert (rgb == np.asarray(picture.convert("RGB"))).all()
    if mode == "RGB":
        theirs = cv2.imdecode(np.frombuffer(PNG, np.uint8), cv2.IMREAD_COLOR)
        assert theirs is not None
        assert (rgb == theirs[..., ::-1]).all()


def test_alpha_is_dropped_not_blended() -> None:
    clear = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    assert decoded(encode(clear, "PNG"))[0].tolist() == [[10, 20, 30]] * 2
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 40, 50, 60])
    for transparency in (1, b"\x80\x40"):
        assert decoded(encode(palette, "PNG", transparency=transparency))[0].tolist() == [[40, 50, 60]] * 2
    keyed = Image.new("RGB", (2, 1), (7, 8, 9))
    assert decoded(encode(keyed, "PNG", transparency=(7, 8, 9)))[0].tolist() == [[7, 8, 9]] * 2


def test_an_interlaced_png() -> None:
    """Adam7 of one pixel is that pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    data = PNG[:8] + header + chunk(b"IDAT", zlib.compress(b"\0\x01\x02\x03")) + chunk(b"IEND", b"")
    assert decoded(data).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), kind, exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    rgb = decoded(data)
    assert (rgb == wanted).all()
    assert rgb.flags["C_CONTIGUOUS"]
    assert rgb.shape[0] == (66 if orientation in (5, 6, 7, 8) else 50)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"garbage garbage",
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"II*\0\x08\0\0\0\xff\xff\x12\x01",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02X\0\0\0\0\0\0\0",  # orientation as text
    ],
)
def test_damaged_exif_does_not_spoil_the_picture(exif: bytes) -> None:
    segment = b"Exif\0\0" + exif
    jpeg = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    assert (decoded(jpeg) == decoded(JPEG)).all()
    assert (decoded(PNG[:33] + chunk(b"eXIf", exif) + PNG[33:]) == np.asarray(photo())).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_one_pixel(kind: str) -> None:
    rgb = decoded(encode(Image.new("RGB", (1, 1), (200, 200, 200)), kind))
    assert rgb.tolist() == [[[200, 200, 200]]]


def test_several_pictures_in_one_jpeg_give_the_first() -> None:
    second = Image.new("RGB", (66, 50), "red")
    data = encode(photo(), "MPO", save_all=True, append_images=[second])
    assert (decoded(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_counts_pixels(kind: str) -> None:
    data = encode(photo(), kind)
    assert decoded(data, 66 * 50).shape == (50, 66, 3)
    assert refused(data, 66 * 50 - 1) == "66 x 50 pixels, at most 3299 are decoded"


def test_10000_x_10000_is_decoded() -> None:
    rgb = decoded(encode(Image.new("L", (10000, 10000), 77), "PNG", compress_level=1))
    assert rgb.shape == (10000, 10000, 3)
    assert rgb[::999, ::999].min() == rgb[::999, ::999].max() == 77


BOMB = """
import resource, sys
sys.path.insert(0, "tests")
import served_code
image = served_code.load("image")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    image.decode(sys.stdin.buffer.read(), 120_000_000)
except image.BadImageError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("size", [(60000, 60000), (2_000_000, 1_000_000)])
def test_a_bomb_is_refused_before_it_is_unpacked(size: tuple[int, int], root: Any) -> None:
    """Its header promises the pixels, its 10 MB unpack to 10 GB: the memory of a process of its own stays where it was."""
    data = png(*size, 8, 2, b"\0" * 10_000_000)
    done = subprocess.run([sys.executable, "-c", BOMB], input=data, capture_output=True, check=True, cwd=root)
    message, kilobytes = done.stdout.decode().splitlines()
    assert message == f"{size[0]} x {size[1]} pixels, at most 120000000 are decoded"
    assert int(kilobytes) < 20_000


def test_a_header_that_lies_small_is_not_believed_by_memory() -> None:
    """A header of one row with data for many: what is more than the header says is left alone."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rgb = decoded(png(10, 1, 8, 2, b"\0" * 300_000_000))
    assert rgb.shape == (1, 10, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
