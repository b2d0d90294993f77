"""Pickles: torch's, scikit-learn's, XGBoost's, LightGBM's and others', by their opcodes; nothing is unpickled."""

from __future__ import annotations

import zlib

from generator.file_kind import FileKind, Opened
from generator.pickle_notes import Made, Pickle
from generator.torch_pickle import StateDict, legacy, plain, state_dicts

ORDER = 50

#: The package of the top object's class -> whose model it is, and the kind that takes it.
_LIBRARIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("sklearn", "imblearn"), "scikit-learn", "sklearn"),
    (("xgboost",), "XGBoost", "sklearn"),
    (("lightgbm",), "LightGBM", "sklearn"),
    (("ultralytics",), "ultralytics", "ultralytics"),
)
#: No more is unpacked of a packed pickle.
_UNPACKED = 1 << 22


def tell(opened: Opened) -> FileKind | None:
    """A pickle of protocol 2 and later says so in its first byte; earlier ones must be read to their end."""
    if opened.head[:1] == b"\x80" and opened.head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        old = legacy(opened.data)
        return torch_kind(old) if old else _pickle(plain(opened.data))
    if opened.head[:1] in (b"(", b"c", b"]", b"}", b"i") and opened.size < 1 << 24:
        found = plain(opened.data)
        return _pickle(found) if not found.broken and found.value is not None and opened.size > 8 else None
    if opened.head[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        return _packed(opened)
    return None


def _packed(opened: Opened) -> FileKind:
    """joblib with `compress` writes one zlib stream; the class of what is in it lies at its beginning."""
    try:
        head = zlib.decompressobj().decompress(opened.data[: 1 << 20], _UNPACKED)
    except zlib.error:
        head = b""
    return _pickle(plain(head)) if head[:1] == b"\x80" else FileKind("something packed with zlib", remedy="unpack it")


def torch_kind(found: Pickle) -> FileKind:
    """What torch.save wrote: a state dict, a checkpoint with state dicts in it, or a module pickled whole."""
    if any(name.startswith("ultralytics.") for name in found.globals):
        return FileKind("an ultralytics checkpoint", "ultralytics")
    dicts = state_dicts(found.value)
    if not dicts:
        broken = f" that cannot be read: {found.broken}" if found.broken else " without tensors by name"
        return FileKind(f"a PyTorch file{broken}", remedy="save the weights: torch.save(model.state_dict(), path)")
    return _module(dicts[0]) if dicts[0].module else _weights(dicts)


def _weights(dicts: list[StateDict]) -> FileKind:
    path = dicts[0].path
    if not path:
        return FileKind("a PyTorch state dict", "state_dict")
    where = ", ".join(f"`{'.'.join(found.path)}`" for found in dicts[:4])
    return FileKind(f"a PyTorch checkpoint with weights under {where}", "state_dict", field=f"key: {'.'.join(path)}")


def _module(found: StateDict) -> FileKind:
    where = f" under `{'.'.join(found.path)}`" if found.path else ""
    return FileKind(f"a whole PyTorch module, {found.module}, pickled{where}; loading it runs code", "pickled")


def _pickle(found: Pickle) -> FileKind:
    top = found.value
    names = [top.name] if isinstance(top, Made) else list(found.globals)
    for packages, library, kind in _LIBRARIES:
        if any(name.split(".", 1)[0] in packages for name in names):
            return FileKind(f"a pickled {library} model; loading it runs code", kind)
    if isinstance(top, dict) and "StructuredToParameterName@@" in top:
        return FileKind("PaddlePaddle parameters without the model (.pdparams)", remedy="save it with paddle.jit.save")
    if state_dicts(top):
        return FileKind("a pickle of arrays", remedy="save the weights with safetensors or torch.save")
    what = f" of {names[0]}; loading it runs code" if names else " of plain data"
    return FileKind(f"a pickle{what}", remedy="name the checkpoint")
