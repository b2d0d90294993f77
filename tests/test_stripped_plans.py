"""A repository that came with plans without weights: `engines` refits them where they fit, and builds where they do not.

Refitting needs a GPU, and a plan that TensorRT itself stripped. What TensorRT does is stood for here by the programs of
gpu_host.py and by a class; everything around it is real.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from gpu_host import GpuHost, gpu_host, write_spec

from generator import engine_builders, engines
from generator.cli import run
from generator.engine_builders import Package
from generator.engines import Wanted
from generator.errors import SurgeryError, ToolError, TritonRepoError
from generator.machine import Gpu

__all__ = ["gpu_host"]


@dataclass(frozen=True)
class Refits(Package):
    """A package that puts a whole plan there, or refuses, and never builds."""

    refuses: type[TritonRepoError] | None = None

    def check(self, item: Wanted, here: object) -> None:
        pass

    def refit(self, item: Wanted, gpu: Gpu, into: Path) -> str:
        if self.refuses:
            raise self.refuses("TensorRT did not refit", "build it")
        assert item.stripped is not None
        shutil.copyfile(item.folder / item.stripped, into / item.engine.filename)
        return "refitted"

    def build(self, item: Wanted, gpu: Gpu, into: Path, told: object) -> str:
        raise SurgeryError("it is built", "")


@pytest.fixture
def arrived(tmp_path: Path, gpu_host: GpuHost) -> Path:
    """The version folder of a repository that was built whole and came without its plan, as the large files do."""
    spec = write_spec(tmp_path / "spec", target="{kind: tensorrt, strip_plan: true}")
    assert run(["build", str(spec), "-o", str(tmp_path / "repository")]) == 0
    assert run(["engines", str(tmp_path / "repository")]) == 0
    version = tmp_path / "repository" / "times" / "1"
    built = {"model.plan", "model.plan.json", "model.stripped.plan", "model.stripped.plan.json"}
    assert {path.name for path in version.iterdir()} == {"engine.json", "model.onnx"} | built
    (version / "model.plan").unlink()
    (version / "model.plan.json").unlink()
    return version


def engines_by(builder: Package, version: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(engine_builders, "choose", lambda _: builder)
    return run(["engines", str(version.parent.parent), *words])


def test_the_plan_is_made_of_the_one_without_weights(
    arrived: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stripped = (arrived / "model.stripped.plan").read_bytes()
    assert engines_by(Refits(), arrived, monkeypatch) == 0
    assert "(refitted) for NVIDIA L4 (8.9)" in capfd.readouterr().out
    assert (arrived / "model.plan").read_bytes() == (arrived / "model.stripped.plan").read_bytes() == stripped
    assert not [item.name for item in engines.wanted(arrived.parent.parent) if engines.stale(item)]
    assert run(["check", str(arrived.parent.parent)]) == 0


def options(version: Path) -> None:
    """The request is another than that of the plan without weights."""
    text = (version / "engine.json").read_text()
    (version / "engine.json").write_text(text.replace('"tf32": true', '"tf32": false'))


def damage(version: Path) -> None:
    (version / "model.stripped.plan").write_bytes((version / "model.stripped.plan").read_bytes()[:-5])


def forget(version: Path) -> None:
    (version / "model.stripped.plan.json").unlink()


def elsewhere(version: Path) -> None:
    """It was built for another GPU type."""
    path = version / "model.stripped.plan.json"
    path.write_text(path.read_text().replace('"8.9"', '"8.6"'))


@pytest.mark.parametrize("change", [options, damage, forget, elsewhere])
def test_one_that_does_not_fit_is_not_used(
    arrived: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], change: object
) -> None:
    assert callable(change)
    change(arrived)
    assert engines_by(Refits(), arrived, monkeypatch) == 1
    assert "it is built" in capfd.readouterr().err
    assert not (arrived / "model.plan").exists()


@pytest.mark.parametrize("how", [SurgeryError, ToolError], ids=["it refuses", "its process dies"])
def test_where_tensorrt_does_not_refit_it_builds(
    arrived: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], how: type[TritonRepoError]
) -> None:
    assert engines_by(Refits(refuses=how), arrived, monkeypatch) == 1
    assert "it is built" in capfd.readouterr().err


def test_force_builds_anew(arrived: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert engines_by(Refits(), arrived, monkeypatch) == 0
    assert engines_by(Refits(), arrived, monkeypatch, "--force") == 1
    assert "it is built" in capfd.readouterr().err
