"""engine.json comes with a repository: no name in it leads out of the version folder, and what is read has a digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from generator.cli import run
from generator.engine_request import NAME, Engine, EngineRequest, PluginLibrary
from generator.errors import RepositoryError
from generator.gpu_serving import GpuServing
from generator.repository import add

SHA = 64 * "0"


def request(**changed: Any) -> dict[str, Any]:
    made = EngineRequest(onnx="model.onnx", files={"model.onnx": SHA}, max_batch_size=1, engines=(Engine(filename="model.plan"),))
    return {**made.model_dump(mode="json"), **changed}


def asked(filename: str, stripped: str | None = None) -> dict[str, Any]:
    return {"engines": [{"filename": filename, "stripped": stripped}]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (asked("../../other/1/model.plan"), ["engines.0.filename", "is not a file name in this folder"]),
        (asked("/tmp/model.plan"), ["engines.0.filename", "'/tmp/model.plan'"]),
        (asked(".."), ["engines.0.filename", "'..'"]),
        (asked("model.plan", "../model.plan"), ["engines.0.stripped"]),
        (asked("model.plan", "model.plan"), ["two files would be called model.plan"]),
        (asked("model.onnx"), ["two files would be called model.onnx"]),
        (asked(NAME), ["two files would be called engine.json"]),
        ({"onnx": "../1/model.onnx"}, ["onnx: ", "is not a file name"]),
        ({"onnx": "other.onnx"}, ["`files` has no digest of other.onnx"]),
        ({"files": {"model.onnx": SHA, "../x": SHA}}, ["files", "'../x'"]),
        ({"plugins": [{"path": "../evil.so", "sha256": SHA}]}, ["plugins.0", "'../evil.so'"]),
        ({"plugins": [{"path": "evil.so"}]}, ["plugins.0", "'evil.so' has no sha256"]),
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], changed: dict[str, Any], words: list[str]
) -> None:
    folder = tmp_path / "repository" / "times" / "1"
    folder.mkdir(parents=True)
    (folder / NAME).write_text(json.dumps(request(**changed)))
    assert run(["engines", str(tmp_path / "repository")]) == 1
    error = capfd.readouterr().err
    for word in [str(folder / NAME), *words]:
        assert word in error
    assert "Traceback" not in error


def test_libraries_here_and_there(tmp_path: Path) -> None:
    wanted = (PluginLibrary(path="own.so", sha256=SHA), PluginLibrary(path="/opt/there.so"))
    EngineRequest.model_validate(request(plugins=[one.model_dump() for one in wanted])).write(tmp_path)
    assert EngineRequest.read(tmp_path).plugins == wanted


def test_a_model_that_is_gone_when_its_engine_is_built(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "model.plan").touch()
    with pytest.raises(RepositoryError, match=r"times/1/model\.plan: No such file or directory; .* built anew meanwhile"):
        add(tmp_path / "repository", "times", {"times/1/model.plan": tmp_path / "model.plan"})


@pytest.mark.parametrize(
    ("image", "other"),
    [
        ("nvcr.io/nvidia/tritonserver:24.10-py3", False),
        ("nvcr.io/nvidia/tritonserver:25.01-py3", True),
        ("registry:5000/tritonserver:24.10-py3", False),
        ("registry:25.01/tritonserver", False),  # no tag says a release
        ("localhost:5000/mine", False),
        (f"nvcr.io/nvidia/tritonserver:24.10-py3@sha256:25{SHA[2:]}", False),
        (f"nvcr.io/nvidia/tritonserver:25.01-py3@sha256:{SHA}", True),
        ("mine:latest", False),
    ],
)
def test_an_image_of_another_release(image: str, other: bool) -> None:
    assert bool(GpuServing(releases=("24.10",)).unlike(image)) == other
