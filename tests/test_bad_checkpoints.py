"""Every kind of checkpoint, given what is none: one message that says what the file looks like and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import identity

from generator.cli import run
from generator.errors import CheckpointError, TritonRepoError
from generator.frontends import Frontend
from generator.plugin import family

PAGE = "<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"
FACTORY = {"factory": "net.py:make", "inputs": {"x": ["batch", 3]}}
#: What each kind needs besides its file, which is `thing`.
KINDS: dict[str, dict[str, Any]] = {
    "darknet": {"cfg": "net.cfg", "weights": "thing"},
    "lightgbm": {"file": "thing"},
    "onnx": {"file": "thing"},
    "paddle": {"model": "thing", "weights": "thing"},
    "pickled": {"file": "thing", "trust_checkpoint": True, "inputs": {"x": ["batch", 3]}},
    "safetensors": {"weights": "thing", **FACTORY},
    "sklearn": {"file": "thing", "trust_checkpoint": True},
    "state_dict": {"weights": "thing", **FACTORY},
    "tensorflow": {"path": "thing"},
    "tflite": {"file": "thing"},
    "timm": {"model": "resnet18", "weights": "thing"},
    "torch_export": {"file": "thing", "trust_checkpoint": True},
    "torchscript": {"file": "thing", "inputs": {"x": ["batch", 3]}},
    "torchvision": {"model": "resnet18", "weights": "thing"},
    "ultralytics": {"file": "thing"},
    "xgboost": {"file": "thing"},
}
#: These take no file of their own: a folder with a config, the user's function.
WITHOUT = {"onnx_factory", "transformers"}


def checkpoint(folder: Path, kind: str, content: bytes, root: Path) -> Frontend:
    (folder / "thing").write_bytes(content)
    (folder / "net.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Linear(3, 2)\n")
    shutil.copyfile(root / "weights" / "yolov4-tiny" / "yolov4-tiny.cfg", folder / "net.cfg")
    made = family("generator.frontends")[kind].model_validate({"kind": kind, **KINDS[kind]}, context={"base": folder})
    assert isinstance(made, Frontend)
    return made


def complaint(made: Frontend, path: Path) -> TritonRepoError:
    """What a build would say: while planning, or from the export."""
    try:
        made.files()
        made.interface()
        made.export(18, path)
    except TritonRepoError as error:
        return error
    raise AssertionError("it was taken")


def test_every_kind_is_in_the_table() -> None:
    assert set(KINDS) | WITHOUT == set(family("generator.frontends"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "looks", "remedy"),
    [(PAGE, "an HTML page", "fetch the file itself"), (POINTER, "a Git LFS pointer", "git lfs pull")],
    ids=["page", "pointer"],
)
def test_a_failed_download_is_called_one(kind: str, content: str, looks: str, remedy: str, tmp_path: Path, root: Path) -> None:
    error = complaint(checkpoint(tmp_path, kind, content.encode(), root), tmp_path / "m.onnx")
    assert isinstance(error, CheckpointError)
    assert error.message.startswith(f"{tmp_path}/thing: ")
    assert f"it looks like {looks}" in error.message
    assert remedy in error.remedy
    assert "\n" not in str(error)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"onnx"}))
def test_another_format_is_named_with_its_kind(kind: str, tmp_path: Path, root: Path) -> None:
    error = complaint(checkpoint(tmp_path, kind, identity().SerializeToString(), root), tmp_path / "m.onnx")
    assert isinstance(error, CheckpointError)
    assert "it looks like an ONNX model" in str(error)
    assert "`kind: onnx`" in str(error)
    assert "\n" not in str(error)


def test_a_build_ends_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thing").write_text(PAGE)
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint: {kind: onnx, file: thing}\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not an ONNX model; it looks like an HTML page" in said
    assert not (tmp_path / "repo").exists()
