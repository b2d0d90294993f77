"""Versions side by side: what a build keeps, adds, takes away and refuses, and that the server serves what the policy says."""

from __future__ import annotations

import json
from pathlib import Path

import load
import numpy as np
import onnx
import pytest
import tiny_models
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from generator.cli import run
from generator.server import Server


class Builder:
    """`build(version, serving)` of the bare model `scaled`; each version multiplies by its own factor."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository = folder, folder / "repo"

    def spec(self, version: int, serving: str = "") -> Path:
        return load.specs(self.folder / f"v{version}", version, serving)[0]

    def __call__(self, version: int, serving: str = "") -> str:
        return load.run("build", self.spec(version, serving), "-o", self.repository)

    @property
    def versions(self) -> list[int]:
        return sorted(int(p.name) for p in (self.repository / "scaled").iterdir() if p.is_dir())


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], build: Builder, spec: Path) -> str:
    """The message of a plan and of a build that refuse; the repository stays as it was."""
    before = {p: p.stat().st_mtime_ns for p in build.repository.rglob("*")}
    capsys.readouterr()
    assert run(["plan", str(spec), "-o", str(build.repository)]) == 1
    error = capsys.readouterr().err
    assert run(["build", str(spec), "-o", str(build.repository)]) == 1
    assert capsys.readouterr().err == error
    assert {p: p.stat().st_mtime_ns for p in build.repository.rglob("*")} == before
    return error


def test_a_new_version_lies_beside_the_old_ones(build: Builder) -> None:
    build(1)
    first = (build.repository / "scaled" / "1" / "model.onnx").stat()
    build(2)
    build(4)
    assert build.versions == [1, 2, 4]
    kept = (build.repository / "scaled" / "1" / "model.onnx").stat()
    assert (kept.st_mtime_ns, kept.st_ino) == (first.st_mtime_ns, first.st_ino), "a kept version is not written again"


@pytest.mark.parametrize(("keep", "left"), [("0", [3]), ("1", [2, 3]), ("2", [1, 2, 3]), ("all", [1, 2, 3])])
def test_keep(build: Builder, keep: str, left: list[int]) -> None:
    for version in (1, 2):
        build(version)
    build(3, f"  keep: {keep}\n")
    assert build.versions == left


def test_an_earlier_version_takes_the_later_ones_away(build: Builder) -> None:
    for version in (1, 2, 3):
        build(version)
    before = (build.repository / "scaled" / "1" / "model.onnx").read_bytes()
    said = build(2)
    assert build.versions == [1, 2]
    assert "retired" in said
    assert (build.repository / "scaled" / "1" / "model.onnx").read_bytes() == before
    assert "nothing to do" in build(2)


def test_plan_shows_the_versions(build: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    build(1)
    build(2)
    spec = build.spec(3, "  keep: 1\n  dynamic_batching: {max_queue_delay_us: 7}\n")
    capsys.readouterr()
    assert run(["plan", "--json", str(spec), "-o", str(build.repository)]) == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert planned["versions"] == {"write": 3, "keep": [2], "retire": [1]}
    assert planned["shared_config"] == {"scaled": ["dynamic_batching"]}
    assert run(["plan", str(spec), "-o", str(build.repository)]) == 0
    text = capsys.readouterr().out
    assert "3" in text
    assert "dynamic_batching" in text


def test_another_batch_size_under_a_kept_version(build: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    build(1)
    spec = build.spec(2)
    spec.write_text(spec.read_text().replace("max_batch_size: 4", "max_batch_size: 8"))
    error = refused(capsys, build, spec)
    assert "max_batch_size of version 1 is 4, the new one is 8" in error
    assert "scaled.yaml:6:" in error


def test_other_tensors_under_a_kept_version(build: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    build(1)
    spec = build.spec(2)
    made = tiny_models.model(
        [helper.make_node("Cast", ["x"], ["z"], to=TensorProto.INT32)],
        {"x": (TensorProto.FLOAT, ("N", 5))},
        {"z": (TensorProto.INT32, ("N", 5))},
    )
    onnx.save(made, spec.with_name("scaled.onnx"))
    error = refused(capsys, build, spec)
    for said in (
        "scaled.yaml:6:",
        "version 1 takes x TYPE_FP32 [4], version 2 takes x TYPE_FP32 [5]",
        "version 1 gives y TYPE_FP32 [4], version 2 gives nothing of that name",
        "version 1 gives nothing of that name, version 2 gives z TYPE_INT32 [5]",
        "give the pipeline a new name, or say `serving.keep: 0`",
    ):
        assert said in error
    spec.write_text(spec.read_text() + "  keep: 0\n")
    load.run("build", spec, "-o", build.repository)
    assert build.versions == [2]


def test_a_policy_that_names_a_version_that_is_not_there(build: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    build(1)
    error = refused(capsys, build, build.spec(2, "  version_policy: {specific: [1, 7]}\n"))
    assert "scaled: version 7 would not be there: the repository will hold 1, 2" in error
    assert "scaled.yaml:8:" in error


def test_who_edits_what_is_served_does_not_edit_the_next_build(build: Builder) -> None:
    build(1)
    path = build.repository / "scaled" / "1" / "model.onnx"
    right = path.read_bytes()
    path.write_bytes(b"edited in place")
    build(1)
    assert path.read_bytes() == right


@pytest.mark.parametrize("file", ["1/model.onnx", "config.pbtxt"])
def test_a_kept_version_that_was_changed_by_hand(build: Builder, capsys: pytest.CaptureFixture[str], file: str) -> None:
    build(1)
    path = build.repository / "scaled" / file
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{path}" in (error := refused(capsys, build, build.spec(2)))
    assert "was changed since it was built" in error
    if file != "config.pbtxt":
        path.unlink()
        assert "is missing" in refused(capsys, build, build.spec(2))


def answers(url: str) -> dict[int, float]:
    """The factor of each version that answers; 0 where the client names none."""
    with triton.InferenceServerClient(url) as client:
        index = client.get_model_repository_index().models
        ready = sorted(int(e.version) for e in index if e.name == "scaled" and e.state == "READY")
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
        asked = {v: client.infer("scaled", [tensor], model_version=str(v) if v else "") for v in (0, *ready)}
    return {v: float(result.as_numpy("y")[0, 0]) for v, result in asked.items()}


@pytest.mark.parametrize(
    ("policy", "right"),
    [
        ("", {0: 4, 4: 4}),
        ("  version_policy: {latest: 2}\n", {0: 4, 2: 3, 4: 4}),
        ("  version_policy: all\n", {0: 4, 1: 2, 2: 3, 4: 4}),
        ("  version_policy: {specific: [1, 2]}\n", {0: 3, 1: 2, 2: 3}),
    ],
)
def test_the_server_serves_what_the_policy_says(build: Builder, policy: str, right: dict[int, float]) -> None:
    build(1)
    build(2)
    build(4, policy)
    with Server(build.repository) as server:
        assert answers(server.grpc_url) == right


def test_an_ensemble_goes_on_with_the_latest(tmp_path: Path) -> None:
    """Steps say version -1, so that one version of the ensemble folder is as good as the other."""
    repository = tmp_path / "repo"
    for version in (1, 2):
        load.run("build", load.specs(tmp_path / f"v{version}", version)[1], "-o", repository)
    text = (repository / "tiny" / "config.pbtxt").read_text()
    assert text.count("model_version: -1") == 3
    assert {p.name for p in (repository / "tiny").iterdir() if p.is_dir()} == {"1", "2"}
