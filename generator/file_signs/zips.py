"""Zip archives, by what is in them: PyTorch's three, Keras, skops, packages."""

from __future__ import annotations

from generator import archives
from generator.errors import CheckpointError
from generator.file_kind import FileKind, Opened
from generator.file_signs import pickles
from generator.torch_pickle import plain

ORDER = 15

_UNPACK = "unpack it, and name the file inside"

#: Files in the archive (all of them), and what it then is; the first that fits counts.
_HOLDS: tuple[tuple[tuple[str, ...], FileKind], ...] = (
    (("archive_format", "models"), FileKind("a torch.export archive (.pt2)", "torch_export")),
    (("serialized_exported_program.json",), FileKind("a torch.export archive (.pt2)", "torch_export")),
    (
        ("bytecode.pkl", "data.pkl"),
        FileKind("a TorchScript archive for mobile devices", "torchscript"),
    ),
    (("code", "constants.pkl", "data.pkl"), FileKind("a TorchScript archive", "torchscript")),
    (("MAR-INF",), FileKind("a TorchServe archive (.mar)", remedy=_UNPACK)),
    (("config.json", "metadata.json", "model.weights.h5"), FileKind("a Keras model", "tensorflow")),
    (("schema.json",), FileKind("a scikit-learn model saved by skops", "sklearn")),
    (("saved_model.pb",), FileKind("a zip archive with a TensorFlow SavedModel", remedy="unpack it, and name the folder")),
)


def tell(opened: Opened) -> FileKind | None:
    """By names alone; where torch.save made it, by its pickle's opcodes."""
    if not opened.head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    try:
        names = archives.names(opened.path)
    except CheckpointError:
        return _cut_off(opened)
    tops = {part for name in names[:10_000] for part in name.split("/")[:2]}
    for wanted, kind in _HOLDS:
        if tops.issuperset(wanted):
            return kind
    pickled = next((name for name in names if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1), "")
    if pickled:
        return _torch(opened, pickled)
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("NumPy arrays (.npz)", remedy="name the checkpoint")
    return FileKind("a zip archive", remedy=_UNPACK)


def _torch(opened: Opened, name: str) -> FileKind:
    try:
        return pickles.torch_kind(plain(archives.read(opened.path, name)))
    except CheckpointError:
        return FileKind("a PyTorch checkpoint that is damaged", remedy="fetch it again")


def _cut_off(opened: Opened) -> FileKind:
    what = "a PyTorch checkpoint" if b"/data.pkl" in opened.head or b"/.format_version" in opened.head else "a zip archive"
    return FileKind(f"{what} that is cut off or damaged", remedy="fetch it again")
