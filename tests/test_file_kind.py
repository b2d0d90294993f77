"""What a file looks like: real files of each library, what failed downloads leave, and files made to do harm."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from payload import Payload

from generator.file_kind import looks_like
from generator.pickle_reader import Source, read
from generator.torch_pickle import runs

FORMATS = Path(__file__).parent / "fixtures" / "formats"
WEIGHTS = Path(__file__).parent.parent / "weights"

#: Written by the libraries themselves (see fixtures/formats/README.md) -> what is said of it.
REAL = {
    "frozen.pb": "a frozen TensorFlow graph; save the model as a SavedModel",
    "keras.h5": "a Keras model in HDF5 (`kind: tensorflow`)",
    "keras.keras": "a Keras model (`kind: tensorflow`)",
    "keras.weights.h5": "weights of a Keras model in HDF5, without the model",
    "lightgbm.joblib": "a pickled LightGBM model; loading it runs code (`kind: sklearn`)",
    "lightgbm.txt": "a LightGBM model (`kind: lightgbm`)",
    "model.tflite": "a TensorFlow Lite model (`kind: tflite`)",
    "openvino.xml": "an OpenVINO IR; use the model that it was converted from",
    "paddle.pdparams": "PaddlePaddle parameters without the model (.pdparams)",
    "paddle_old.pdiparams": "parameters of a PaddlePaddle inference model (`kind: paddle`",
    "paddle_old.pdmodel": "a PaddlePaddle inference model (`kind: paddle`)",
    "paddle_pir.json": "a PaddlePaddle inference model (`kind: paddle`)",
    "paddle_pir.pdiparams": "parameters of a PaddlePaddle inference model (`kind: paddle`",
    "saved_model.pb": "the graph of a TensorFlow SavedModel (`kind: tensorflow`",
    "sklearn.joblib": "a pickled scikit-learn model; loading it runs code (`kind: sklearn`)",
    "sklearn.pkl": "a pickled scikit-learn model; loading it runs code (`kind: sklearn`)",
    "sklearn.skops": "a scikit-learn model saved by skops (`kind: sklearn`)",
    "sklearn_packed.joblib": "a pickled scikit-learn model; loading it runs code (`kind: sklearn`)",
    "tfck.index": "the index of a TensorFlow checkpoint: variables without a graph",
    "xgboost.joblib": "a pickled XGBoost model; loading it runs code (`kind: sklearn`)",
    "xgboost.json": "an XGBoost model (`kind: xgboost`)",
    "xgboost.ubj": "an XGBoost model (`kind: xgboost`)",
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_of_each_library_is_told(name: str) -> None:
    assert looks_like(FORMATS / name).startswith(REAL[name])


def test_every_stored_file_is_in_the_table() -> None:
    assert {path.name for path in FORMATS.iterdir() if path.suffix != ".md"} == set(REAL)


def _torch_files(folder: Path) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    state = model.state_dict()
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    averaged = {name: value.clone() for name, value in state.items()}
    torch.save({"epoch": 3, "ema": {"model": averaged}, "model": state}, folder / "nested.pt")
    torch.save(model, folder / "module.pt")
    torch.save({"model": model, "epoch": 3}, folder / "module_inside.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(model).save(str(folder / "scripted.pt"))  # type: ignore[no-untyped-call]
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)), folder / "exported.pt2")


TORCH = {
    "state.pt": "a PyTorch state dict (`kind: state_dict`)",
    "legacy.pt": "a PyTorch state dict (`kind: state_dict`)",
    "nested.pt": "a PyTorch checkpoint with weights under `model`, `ema.model` (`kind: state_dict`, `key: model`)",
    "module.pt": "a whole PyTorch module, torch.nn.modules.container.Sequential, pickled; loading it runs code (`kind: pickled`)",
    "module_inside.pt": "a whole PyTorch module, torch.nn.modules.container.Sequential, pickled under `model`; loading it runs",
    "scripted.pt": "a TorchScript archive (`kind: torchscript`)",
    "exported.pt2": "a torch.export archive (.pt2) (`kind: torch_export`)",
}


def test_what_torch_writes_is_told_apart(tmp_path: Path) -> None:
    _torch_files(tmp_path)
    for name, phrase in TORCH.items():
        assert looks_like(tmp_path / name).startswith(phrase), name
        cut = tmp_path / f"cut_{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:400])
        assert "cut off" in looks_like(cut) or "cannot be read" in looks_like(cut), name


#: Bytes of a file, or its beginning -> what is said of it.
BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "page": (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "an HTML page, such as a download's error page"),
    "s3": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML error message of a download"),
    "api": (b'{"error": "Repository not found"}', "a JSON error message of a download"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "a Git LFS pointer"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "something packed with gzip"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(300), "a tar archive"),
    "plan": (b"ftrt\x00\x00\x00\x00\xef\x00\x00\x00", "a TensorRT plan, built for one GPU type"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF language model"),
    "coreml": (b"\x08\x05\x12\x02\x0a\x00\xa2\x1f\x02\x08\x01", "a Core ML model"),
    "safetensors": (struct.pack("<Q", 2) + b"{}" + bytes(8), "a safetensors file (`kind: safetensors`)"),
    "cut.safetensors": (struct.pack("<Q", 900) + b'{"a":{"dtype"', "a safetensors file that is cut off"),
    "net.cfg": (b"# mine\n[net]\nwidth=416\n", "a Darknet cfg (`kind: darknet`)"),
    "net.weights": (struct.pack("<3iq", 0, 2, 5, 32) + bytes(400), "Darknet weights (`kind: darknet`"),
    "plain.pkl": (pickle.dumps({"a": 1, "b": [1, 2]}), "a pickle of plain data"),
    "old.pkl": (pickle.dumps({"a": 1, "b": [1, 2]}, 0), "a pickle of plain data"),
    "noise": (bytes(range(7, 200)) * 3, ""),
    "text": (b"person\nbicycle\ncar\n", ""),
}


@pytest.mark.parametrize("name", BYTES)
def test_other_formats_and_failed_downloads(name: str, tmp_path: Path) -> None:
    content, phrase = BYTES[name]
    (tmp_path / name).write_bytes(content)
    found = looks_like(tmp_path / name)
    assert found.startswith(phrase) if phrase else found == ""


def test_onnx_and_a_cut_one(tmp_path: Path) -> None:
    import onnx

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, producer_name="test"), model)
    assert looks_like(model) == "an ONNX model (`kind: onnx`)"
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-20])
    assert looks_like(tmp_path / "cut.onnx") == "an ONNX model that is cut off; fetch it again"


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes((FORMATS / "saved_model.pb").read_bytes())
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    assert looks_like(tmp_path / "empty").startswith("an empty folder")
    assert looks_like(tmp_path / "saved") == "a TensorFlow SavedModel (`kind: tensorflow`)"
    assert looks_like(tmp_path / "bert") == "a transformers folder (`kind: transformers`)"
    assert looks_like(tmp_path / "missing") == ""


def _zipped(path: Path, content: bytes, kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")


def test_no_code_of_the_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    for protocol in range(6):
        content = pickle.dumps({"model": Payload(mark)}, protocol)
        (tmp_path / "bare.pkl").write_bytes(content)
        _zipped(tmp_path / "zipped.pt", content)
        assert "os.system" in looks_like(tmp_path / "bare.pkl") or "posix.system" in looks_like(tmp_path / "bare.pkl")
        looks_like(tmp_path / "zipped.pt")
        assert not mark.exists()
        assert runs(read(Source(content)).globals) == ("posix.system",)
    pickle.loads(content)  # the payload is real: unpickling would have run it
    assert mark.exists()


def _deep(depth: int) -> bytes:
    return b"\x80\x02)" + b"\x85" * depth + b"."


#: Pickles that cost an unpickler its memory, its stack or its time.
HOSTILE: dict[str, bytes] = {
    "a tuple in a tuple hundreds of thousands deep": _deep(290_000),
    "a key that recurses when hashed": b"\x80\x02}" + _deep(200_000)[2:-1] + b"K\x01s.",
    "more opcodes than anything has": b"\x80\x02" + b"N0" * 500_000 + b"N.",
    "a memo of four thousand million places": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytes longer than any memory": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "lists of lists, each twice": b"\x80\x02]" + b"".join(b"q%c](h%ch%ce" % (i, i, i) for i in range(200)) + b".",
    "an empty stack": b"\x80\x02ssss.",
    "a mark too many": b"\x80\x02(((((t.",
    "a global of a number": b"\x80\x04K\x01K\x02\x93.",
    "a build on a class": b"\x80\x02cos\nsystem\n}b.",
    "a number of a million digits": b"\x80\x02L" + b"9" * 60_000 + b"L\n.",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_costs_little(what: str, tmp_path: Path) -> None:
    (tmp_path / "bare.pkl").write_bytes(HOSTILE[what])
    _zipped(tmp_path / "zipped.pt", HOSTILE[what])
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from pathlib import Path; from generator.file_kind import looks_like\n"
        "print([looks_like(Path(name)) for name in sys.argv[1:]])"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bare.pkl"), str(tmp_path / "zipped.pt")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PyTorch" in done.stdout
    assert time.monotonic() - start < 20


def test_opcodes_are_counted() -> None:
    found = read(Source(b"\x80\x02" + b"N0" * 500_000 + b"N."))
    assert found.broken == "more than 300,000 opcodes"


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO()
    packed = zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("archive/data.pkl", "w") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    (tmp_path / "bomb.pt").write_bytes(content.getvalue())
    del content
    tracemalloc.start()
    try:
        assert looks_like(tmp_path / "bomb.pt").startswith("a PyTorch checkpoint that is damaged")
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_the_list_of_safe_names_is_torchs_own() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    allowed = tuple(_get_allowed_globals())
    assert len(allowed) > 100
    assert runs(allowed) == ()
    foreign = (
        "builtins.eval",
        "builtins.setattr",
        "torch.load",
        "torch.nn.modules.conv.Conv2d",
        "torch.floatx",
        "numpy.core.multiarray._reconstruct",
    )
    assert runs(foreign) == foreign
