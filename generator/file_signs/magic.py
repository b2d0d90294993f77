"""Formats whose first bytes name them."""

from __future__ import annotations

from generator.file_kind import FileKind, Opened

ORDER = 10

_UNPACK = "unpack it, and name the file inside"
_CHECKPOINT = "start from the checkpoint that it was made from"

#: Where, which bytes, what it is.
_MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    (4, b"TFL3", FileKind("a TensorFlow Lite model", "tflite")),
    (4, b"ORTM", FileKind("a model in ONNX Runtime's own format (.ort)", remedy="use the .onnx file that it was made from")),
    (0, b"ftrt", FileKind("a TensorRT plan, built for one GPU type and one TensorRT version", remedy=_CHECKPOINT)),
    (0, b"GGUF", FileKind("a GGUF language model", remedy="llama.cpp serves it, a Triton repository is not made from it")),
    (0, b"CBM1", FileKind("a CatBoost model", remedy='save it as ONNX: model.save_model("model.onnx", format="onnx")')),
    (0, b"RKNN", FileKind("an RKNN model for Rockchip devices", remedy=_CHECKPOINT)),
    (0, b"\x93NUMPY", FileKind("a NumPy array", remedy="name the checkpoint")),
    (0, b"binf", FileKind("an XGBoost model in its old binary format", remedy='save it again: booster.save_model("model.json")')),
    (0, b"\xff\xd8\xff", FileKind("a JPEG picture", remedy="name the checkpoint")),
    (0, b"\x89PNG", FileKind("a PNG picture", remedy="name the checkpoint")),
    (0, b"%PDF", FileKind("a PDF document", remedy="name the checkpoint")),
    (0, b"\x1f\x8b", FileKind("something packed with gzip", remedy=_UNPACK)),
    (0, b"BZh", FileKind("something packed with bzip2", remedy=_UNPACK)),
    (0, b"\xfd7zXZ\x00", FileKind("something packed with xz", remedy=_UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("something packed with zstd", remedy=_UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7-Zip archive", remedy=_UNPACK)),
    (0, b"Rar!", FileKind("a RAR archive", remedy=_UNPACK)),
    (257, b"ustar", FileKind("a tar archive", remedy=_UNPACK)),
    (0, b"\x7fELF", FileKind("a program or a shared library", remedy="name the checkpoint")),
)
#: A leveldb table, as TensorFlow writes checkpoints' indices (tensorflow/core/lib/io/table_options.h).
_TABLE_END = bytes.fromhex("57fb808b247547db")


def tell(opened: Opened) -> FileKind | None:
    """By magic bytes; HDF5 by what its root says of Keras."""
    for at, magic, kind in _MAGIC:
        if opened.head[at : at + len(magic)] == magic:
            return kind
    if opened.head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _hdf5(opened)
    if opened.size >= 48 and opened.data[opened.size - 8 :] == _TABLE_END:
        return FileKind("the index of a TensorFlow checkpoint: variables without a graph", remedy="save it as a SavedModel")
    named = opened.path.suffix.lower() in (".engine", ".plan", ".trt")
    if named and opened.head[4:5] == b"{" and b"ftrt" in opened.data[: 1 << 16]:
        return FileKind("a TensorRT plan with a header of ultralytics", remedy=_CHECKPOINT)
    return None


def _hdf5(opened: Opened) -> FileKind:
    """Keras writes `model_config` for a whole model and `layer_names` for weights; attributes lie near the root."""
    for at in range(0, min(opened.size, 1 << 25), 1 << 20):
        if b"model_config" in opened.data[at : at + (1 << 20) + 16]:
            return FileKind("a Keras model in HDF5", "tensorflow")
    if (
        b"layer_names" in opened.head
        or b"_layer_checkpoint_dependencies" in opened.head
        or opened.path.name.endswith(".weights.h5")
    ):
        remedy = 'load it into its model, and save that: model.save("model.keras")'
        return FileKind("weights of a Keras model in HDF5, without the model", remedy=remedy)
    return FileKind("an HDF5 file", remedy="only Keras models in HDF5 are read")
