"""Pushing a built repository: to a folder, to a file system of fsspec, and to S3 with a real server that reads from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import load
import pytest

from generator import lock
from generator.cli import run
from generator.plan import file_digest
from generator.push_remote import Store
from generator.server import Server

SCALED_1 = ["scaled/1/model.onnx", "scaled/README.md", "scaled/config.pbtxt"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Specs of `scaled` in versions 1 and 2, and of `tiny` in 1, each built into a repository of its own: r1, r2, both."""
    folder = tmp_path_factory.mktemp("push")
    one, tiny = load.specs(folder / "v1", 1)
    two, _ = load.specs(folder / "v2", 2)
    load.run("build", one, "-o", folder / "r1")
    load.run("build", one, "-o", folder / "r2")
    load.run("build", two, "-o", folder / "r2")
    load.run("build", one, tiny, "-o", folder / "both")
    return folder


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, fsspec.AbstractFileSystem, str]:
    """A destination, the file system it is in, and its path there."""
    if request.param == "folder":
        return str(tmp_path / "there"), fsspec.filesystem("file"), str(tmp_path / "there")
    return "memory://there/repo", request.getfixturevalue("memory"), "/there/repo"


def files(place: tuple[str, fsspec.AbstractFileSystem, str]) -> list[str]:
    _, system, root = place
    return sorted(path[len(root) + 1 :] for path in system.find(root))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 1
    return capsys.readouterr().err


def test_only_what_changed_is_brought(made: Path, place: tuple[str, fsspec.AbstractFileSystem, str]) -> None:
    said = load.run("push", made / "r1", place[0])
    assert "3 of 3 files" in said
    assert files(place) == [*SCALED_1, lock.NAME]
    assert "nothing to bring" in load.run("push", made / "r1", place[0])
    said = load.run("push", made / "r2", place[0])
    assert "scaled/2/model.onnx" in said
    assert "scaled/1/model.onnx" not in said
    assert files(place) == ["scaled/1/model.onnx", "scaled/2/model.onnx", *SCALED_1[1:], lock.NAME]
    assert place[1].cat_file(f"{place[2]}/scaled/2/model.onnx") == (made / "r2" / "scaled" / "2" / "model.onnx").read_bytes()
    said = load.run("push", made / "r1", place[0])
    assert "retired" in said
    assert files(place) == [*SCALED_1, lock.NAME]


def test_models_of_others_are_not_touched(
    made: Path, place: tuple[str, fsspec.AbstractFileSystem, str], capsys: pytest.CaptureFixture[str]
) -> None:
    place[1].makedirs(f"{place[2]}/theirs/1", exist_ok=True)
    place[1].pipe_file(f"{place[2]}/theirs/1/model.onnx", b"theirs")
    load.run("push", made / "r1", place[0])
    assert place[1].cat_file(f"{place[2]}/theirs/1/model.onnx") == b"theirs"
    place[1].makedirs(f"{place[2]}/scaled/7", exist_ok=True)
    place[1].pipe_file(f"{place[2]}/scaled/7/model.onnx", b"by hand")
    assert "scaled/7/model.onnx: not pushed by triton-repo" in refused(capsys, "push", made / "r2", place[0])
    assert place[1].cat_file(f"{place[2]}/scaled/7/model.onnx") == b"by hand"


def test_a_model_by_that_name_is_never_replaced(
    made: Path, place: tuple[str, fsspec.AbstractFileSystem, str], capsys: pytest.CaptureFixture[str]
) -> None:
    place[1].makedirs(f"{place[2]}/scaled/1", exist_ok=True)
    place[1].pipe_file(f"{place[2]}/scaled/1/model.onnx", b"theirs")
    assert "scaled" in refused(capsys, "push", made / "r1", place[0])
    assert files(place) == ["scaled/1/model.onnx"]


def test_two_repositories_in_one_place(made: Path, place: tuple[str, fsspec.AbstractFileSystem, str]) -> None:
    load.run("push", made / "both", place[0])
    before = files(place)
    load.run("push", made / "r2", place[0])
    assert set(files(place)) == {*before, "scaled/2/model.onnx"}
    assert [name for name in files(place) if name.startswith("tiny/")], "the ensemble of the other repository stays"


def test_what_would_not_load_is_not_pushed(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(shutil.copytree(made / "r1", tmp_path / "source"))
    config = source / "scaled" / "config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_FP32", "TYPE_FP16"))
    assert "was changed since it was built: scaled/config.pbtxt was changed" in refused(
        capsys, "push", source, tmp_path / "there"
    )
    written = json.loads((source / lock.NAME).read_text())
    written["pipelines"]["scaled"]["files"]["scaled/config.pbtxt"] = file_digest(config)
    (source / lock.NAME).write_text(json.dumps(written))
    error = refused(capsys, "push", source, tmp_path / "there")
    assert "tritonserver would refuse" in error
    assert "TYPE_FP16" in error
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("name", "what"),
    [("../evil", "no name of a model folder"), ("scaled/../../evil", "no name of a model folder")],
)
def test_a_lock_that_points_out_of_its_folder(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, what: str
) -> None:
    source = Path(shutil.copytree(made / "r1", tmp_path / "source"))
    written = json.loads((source / lock.NAME).read_text())
    written["pipelines"]["scaled"]["models"] = [name]
    (source / lock.NAME).write_text(json.dumps(written))
    assert what in refused(capsys, "push", source, tmp_path / "there")
    written["pipelines"]["scaled"] |= {"models": ["scaled"], "files": {"scaled/../../evil": "0" * 64}}
    (source / lock.NAME).write_text(json.dumps(written))
    assert "is no file of its models" in refused(capsys, "push", source, tmp_path / "there")


@pytest.mark.parametrize(
    ("destination", "what"),
    [
        ("nosuch://bucket/repo", "nosuch"),
        ("gs://bucket/repo", "pip install 'gcsfs'"),
        ("abfs://container/repo", "pip install 'adlfs'"),
    ],
)
def test_places_that_are_not_there(made: Path, capsys: pytest.CaptureFixture[str], destination: str, what: str) -> None:
    error = refused(capsys, "push", made / "r1", destination)
    assert destination in error
    assert what in error
    assert "Traceback" not in error


def test_a_source_without_a_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"has no {lock.NAME}" in refused(capsys, "push", tmp_path, tmp_path / "there")


def test_a_server_that_is_away(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "push", made / "r1", tmp_path / "there", "--server", "127.0.0.1:1")
    assert "127.0.0.1:1" in error
    assert "--server" in error


def test_a_push_that_was_cut_off_can_be_repeated(made: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put, count = Store.put, 0

    def cut(self: Store, source: Path, name: str) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise OSError("the line is dead")
        put(self, source, name)

    load.run("push", made / "r1", "memory://there/repo")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", cut)
        assert run(["push", str(made / "r2"), "memory://there/repo"]) == 1
    assert memory.exists("/there/repo/scaled/2/model.onnx")
    load.run("push", made / "r2", "memory://there/repo")
    got = {name: memory.cat_file(f"/there/repo/{name}") for name in lock.read(made / "r2")["scaled"].files}
    assert got == {name: (made / "r2" / name).read_bytes() for name in got}
    assert "nothing to bring" in load.run("push", made / "r2", "memory://there/repo")


@pytest.mark.parametrize("control", ["explicit", pytest.param("poll", marks=pytest.mark.full)])
def test_s3_with_a_server_that_reads_from_there(tmp_path: Path, control: str) -> None:
    """The wheel's tritonserver on s3://, rolled forward and back under load by push; a prefix's neighbours stay."""
    scenario = load.Scenario(tmp_path)
    with load.bucket() as bucket:
        url = f"{bucket}/some/repo"
        load.run("push", scenario.repository, url)
        load.run("push", scenario.repository, f"{bucket}/some/repo2")
        (tmp_path / "empty").mkdir()
        options = load.poll() if control == "poll" else load.explicit(scenario)
        arguments = [*options.pop("extra_args", []), f"--model-repository={url}"]
        with Server(tmp_path / "empty", **options, extra_args=arguments, timeout=60) as server:
            with scenario.load(server) as loaded:
                rolls = load.roll(scenario, server, loaded, [2, 1], to=url)
            load.judged(loaded, rolls)
        assert "nothing to bring" in load.run("push", scenario.repository, f"{bucket}/some/repo2")
