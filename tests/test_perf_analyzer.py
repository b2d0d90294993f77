"""Finding the real perf_analyzer, and telling it from the placeholder of that name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from generator import paths, perf_analyzer
from generator.errors import ToolError


def program(folder: Path, text: str) -> Path:
    """A program named perf_analyzer that prints `text`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "perf_analyzer"
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


def test_the_installed_one_is_real_and_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = perf_analyzer.install()
    found = perf_analyzer.find()
    assert found.binary == binary
    assert found.version == "2.51.0"
    assert binary.read_bytes()[:4] == b"\x7fELF"
    links = Path(found.env["LD_LIBRARY_PATH"].split(":")[0])
    assert sorted(p.name for p in links.iterdir()) == ["libb64.so.0d", "libcudart.so.12"]


def test_without_the_linked_libraries_it_would_not_run() -> None:
    assert perf_analyzer.probe(perf_analyzer.install(), {**os.environ, "LD_LIBRARY_PATH": ""}) == ""


def test_a_placeholder_on_path_is_passed_over(on_path: Path) -> None:
    program(on_path, "hello")
    perf_analyzer.install()
    assert perf_analyzer.find().binary.is_relative_to(paths.cache())


def test_a_real_one_on_path_is_preferred(on_path: Path) -> None:
    path = program(on_path, "Perf Analyzer Version 2.60.0 (commit 0123456)")
    found = perf_analyzer.find()
    assert (found.binary, found.version) == (path, "2.60.0")


def test_with_a_placeholder_only_the_message_says_so(on_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(on_path, "hello")
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolError, match=r"no real perf_analyzer here \(.*bin/perf_analyzer is a placeholder.*make server"):
        perf_analyzer.find()


@pytest.mark.parametrize("text", ["hello", "", "perf_analyzer 0.1.0"])
def test_what_does_not_state_its_version_is_not_real(tmp_path: Path, text: str) -> None:
    assert perf_analyzer.probe(program(tmp_path, text), dict(os.environ)) == ""


def test_links_are_mended_when_the_server_environment_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "perf_analyzer").symlink_to(perf_analyzer.install())
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libb64.so.0d").symlink_to("/nowhere/libb64.so.0d")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    monkeypatch.setattr(perf_analyzer, "_root", lambda: tmp_path)
    assert perf_analyzer.find().version == "2.51.0"
    assert (tmp_path / "lib" / "libb64.so.0d").resolve().is_file()
