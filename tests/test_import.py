"""A hand-made repository becomes specs, and building these gives the same repository."""

from __future__ import annotations

import copy
import shutil
import sys
from pathlib import Path

import pytest

from generator import pbtxt
from generator.build import build, plan
from generator.cli import run
from generator.import_repository import specs, write

sys.path.insert(0, str(Path(__file__).parent))
from differential import seeds


def make(repository: Path) -> Path:
    """Every seed of the differential test, which between them use the whole schema, as one hand-made repository."""
    models = seeds.singles()
    for name, folders in seeds.ensembles().items():
        for part, folder in folders.items():
            renamed = copy.deepcopy(folder)
            assert renamed.config is not None
            for step in renamed.config.ensemble_scheduling.step if renamed.config.HasField("ensemble_scheduling") else ():
                step.model_name = f"{name}_{step.model_name}"
            models[f"{name}_{part}"] = renamed
    for name, folder in models.items():
        for path, data in folder.files.items():
            (repository / name / path).parent.mkdir(parents=True, exist_ok=True)
            (repository / name / path).write_bytes(data)
        for inner in folder.folders:
            (repository / name / inner).mkdir(parents=True, exist_ok=True)
        assert folder.config is not None
        (repository / name / "config.pbtxt").write_text(pbtxt.text(folder.config), encoding="utf-8")
    return repository


def content(repository: Path) -> dict[str, object]:
    """Configs as messages, all other files as bytes."""
    found: dict[str, object] = {}
    for path in sorted(p for p in repository.rglob("*") if p.is_file() and p.parent != repository):
        name = path.relative_to(repository).as_posix()
        found[name] = pbtxt.read(path) if path.name == "config.pbtxt" else path.read_bytes()
    return found


def folders(repository: Path) -> set[str]:
    return {p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_dir()}


def test_import_and_build_give_the_same_repository(tmp_path: Path) -> None:
    old = make(tmp_path / "old")
    texts = specs(old, tmp_path / "specs")
    write(texts)
    new = tmp_path / "new"
    build(plan(list(texts), new), new, lambda step, said: None)
    assert content(new) == content(old)
    assert folders(new) == folders(old)
    assert all(item.fresh for item in plan(list(texts), new))


def test_what_was_built_is_served(tmp_path: Path) -> None:
    from generator.server import Server

    old = make(tmp_path / "old")
    for name in ("chain_ensemble", "chain_a", "chain_b", "priorities"):
        shutil.copytree(old / name, tmp_path / "some" / name)
    write(specs(tmp_path / "some", tmp_path / "specs"))
    new = tmp_path / "new"
    paths = sorted((tmp_path / "specs").glob("*.yaml"))
    build(plan(paths, new), new, lambda step, said: None)
    with Server(new) as server:
        assert server.models == ["chain_a", "chain_b", "chain_ensemble", "priorities"]


def test_a_model_without_config_stays_without(tmp_path: Path) -> None:
    (tmp_path / "old" / "m" / "1").mkdir(parents=True)
    (tmp_path / "old" / "m" / "1" / "model.py").write_text(seeds.IDLE)
    write(specs(tmp_path / "old", tmp_path / "specs"))
    new = tmp_path / "new"
    build(plan([tmp_path / "specs" / "m.yaml"], new), new, lambda step, said: None)
    assert sorted(content(new)) == ["m/1/model.py"]


def test_every_broken_config_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (("a", b"inpt { }"), ("b", b"\xff\xfe\x00"), ("c", b"max_batch_size: 1")):
        (tmp_path / "old" / name / "1").mkdir(parents=True)
        (tmp_path / "old" / name / "config.pbtxt").write_bytes(data)
    assert run(["import", str(tmp_path / "old"), "-o", str(tmp_path / "specs")]) == 1
    said = capsys.readouterr().err
    assert "old/a/config.pbtxt:1" in said
    assert "did you mean 'input'" in said
    assert "old/b/config.pbtxt:1: not UTF-8" in said
    assert not (tmp_path / "specs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "holds no model folder"),
        (["old", "--model", "x"], "holds no model 'x'; it holds m"),
    ],
)
def test_mistakes_end_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "old":
        (tmp_path / "old" / "m").mkdir(parents=True)
    assert run(["import", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_ours_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old" / "m").mkdir(parents=True)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "m.yaml").write_text("name: mine\n")
    assert run(["import", str(tmp_path / "old"), "-o", str(tmp_path / "specs")]) == 1
    assert "m.yaml is there and was not imported" in capsys.readouterr().err
    assert (tmp_path / "specs" / "m.yaml").read_text() == "name: mine\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: m\nfolder: gone\n", ":2: folder: no such folder"),
        ("name: ../m\nfolder: m\n", ":1: name: '../m' cannot name a model folder"),
        ("name: m\nfolder: m\nconfig:\n  name: other\n", "config.name is 'other'"),
        ("name: m\nfolder: m\nconfg: {}\n", ":3: confg: unknown key 'confg'; did you mean 'config'"),
        ("name: m\nfolder: m\nconfig:\n  backend: python\n  max_batch_size: -3\n", ":5: m: max_batch_size: found -3"),
        ("name: m\nfolder: m\nconfig:\n  backend: python\n  input:\n  - {name: a, dims: [1]}\n", ":6: m: input[0].data_type"),
    ],
)
def test_a_wrong_folder_spec_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.py").write_text(seeds.IDLE)
    (tmp_path / "m.yaml").write_text(text)
    assert run(["plan", str(tmp_path / "m.yaml"), "-o", str(tmp_path / "new")]) == 1
    assert said in capsys.readouterr().err


def test_a_link_that_leads_back_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "again").symlink_to(tmp_path / "m")
    (tmp_path / "m.yaml").write_text("name: m\nfolder: m\n")
    assert run(["plan", str(tmp_path / "m.yaml"), "-o", str(tmp_path / "new")]) == 1
    assert "leads back" in capsys.readouterr().err
