"""build and plan: what they promise, what they leave alone, and what an interrupt leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_detector

from generator import graph, lock, pbtxt
from generator import run as steps_cache
from generator.cli import run
from generator.tensors import config_dtype


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A spec and the repository built from it."""
    folder = tmp_path_factory.mktemp("built")
    spec = tiny_detector.write(folder / "specs", seed=int(time.time()))
    assert run(["build", str(spec), "-o", str(folder / "repo")]) == 0
    return spec, folder / "repo"


def snapshot(repository: Path) -> dict[str, bytes]:
    return {str(p.relative_to(repository)): p.read_bytes() for p in sorted(repository.rglob("*")) if p.is_file()}


def test_every_model_has_what_triton_needs(built: tuple[Path, Path]) -> None:
    _, repository = built
    assert sorted(p.name for p in repository.iterdir() if p.is_dir()) == [
        "tiny",
        "tiny_model",
        "tiny_postprocess",
        "tiny_preprocess",
    ]
    for name, file in (("tiny_model", "model.onnx"), ("tiny_preprocess", "model.py"), ("tiny_postprocess", "model.py")):
        assert (repository / name / "1" / file).is_file()
    assert (repository / "tiny" / "1").is_dir()


def test_the_configs_are_those_of_the_final_graph(built: tuple[Path, Path]) -> None:
    config = pbtxt.read(built[1] / "tiny_model" / "config.pbtxt")
    inputs, outputs = graph.interface(graph.load(built[1] / "tiny_model" / "1" / "model.onnx"))
    for tensors, said in ((inputs, config.input), (outputs, config.output)):
        assert [(t.name, config_dtype(t.dtype), list(t.shape)) for t in tensors] == [
            (s.name, pbtxt_name(s.data_type), list(s.dims)) for s in said
        ]
    assert all(t.batched for t in (*inputs, *outputs))
    assert config.max_batch_size == 4


def pbtxt_name(number: int) -> str:
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number))


def test_the_graph_is_old_enough_for_the_official_container(built: tuple[Path, Path]) -> None:
    """onnxruntime 1.19 of the 24.10 container reads IR version 10 and opset 21 at most."""
    model = graph.load(built[1] / "tiny_model" / "1" / "model.onnx")
    assert model.ir_version <= 10
    assert {o.domain: o.version for o in model.opset_import} == {"": 18}
    onnx.checker.check_model(model, full_check=True)


def test_plan_says_what_build_writes(built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, repository = built
    assert run(["plan", str(spec), "-o", str(tmp_path / "new"), "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "new").exists()
    entry = lock.read(repository)["tiny"]
    assert {m["model"] for m in planned["models"]} == set(entry.models)
    for model in planned["models"]:
        config = pbtxt.read(repository / model["model"] / "config.pbtxt")
        for direction, said in (("inputs", config.input), ("outputs", config.output)):
            assert [(t["name"], config_dtype(t["dtype"]), t["shape"]) for t in model[direction]] == [
                (s.name, pbtxt_name(s.data_type), list(s.dims)) for s in said
            ]
    ensemble = pbtxt.read(repository / "tiny" / "config.pbtxt")
    wired = {
        (step.model_name, tensor, key) for step in ensemble.ensemble_scheduling.step for tensor, key in step.input_map.items()
    }
    assert wired == {(e["to"], e["name"], e["tensor"]) for e in planned["edges"] if e["to"] != "response"}
    made = {
        (step.model_name, tensor, key) for step in ensemble.ensemble_scheduling.step for tensor, key in step.output_map.items()
    }
    assert made == {(e["from"], e["name"], e["tensor"]) for e in planned["edges"] if e["from"] != "request"}
    for step in planned["steps"]:
        assert entry.steps[step["step"]] is not None
    assert [s["step"] for s in planned["steps"] if s["stale"]] == ["repository"]  # the cache holds the rest


def test_a_second_build_does_nothing_and_says_so(built: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before, stamps = snapshot(built[1]), {p: p.stat().st_mtime_ns for p in built[1].rglob("*")}
    assert run(["build", str(built[0]), "-o", str(built[1])]) == 0
    assert "nothing to do: tiny" in capsys.readouterr().out
    assert snapshot(built[1]) == before
    assert {p: p.stat().st_mtime_ns for p in built[1].rglob("*")} == stamps


def test_plan_names_the_reason(built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = built[0].with_name("changed.yaml")
    for old, new, reason in (
        ("max_batch_size: 4", "max_batch_size: 2", "changed: serving"),
        ("score_threshold: 0.2", "score_threshold: 0.3", "changed: nms"),
        ("name: tiny\n", "name: tiny\nopset: 17\n", "changed: opset"),
    ):
        spec.write_text(tiny_detector.SPEC.replace(old, new))
        assert run(["plan", str(spec), "-o", str(built[1]), "--json"]) == 0
        (planned,) = json.loads(capsys.readouterr().out)
        reasons = [s["why"] for s in planned["steps"] if s["stale"]]
        assert reasons[0] == reason


def test_a_change_updates_only_what_it_touches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, repository = tiny_detector.write(tmp_path / "s", seed=7), tmp_path / "repo"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    capsys.readouterr()
    (tmp_path / "s" / "labels.txt").write_text("cat\nwolf\n")
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│")
    }
    assert [name for name, status in rows.items() if status == "updated"] == ["tiny_postprocess/labels.txt"]
    assert (repository / "tiny_postprocess" / "labels.txt").read_text() == "cat\nwolf\n"
    (repository / "tiny_model" / "config.pbtxt").write_text("touched by hand")
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    assert pbtxt.read(repository / "tiny_model" / "config.pbtxt").name == "tiny_model"


def test_what_a_renamed_pipeline_leaves_is_retired_only_when_it_was_ours(tmp_path: Path) -> None:
    spec, repository = tiny_detector.write(tmp_path / "s", seed=7), tmp_path / "repo"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    bare = tiny_detector.SPEC.split("preprocess:")[0].replace("score_threshold: 0.2", "score_threshold: 0.21")
    spec.write_text(bare)
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    assert [p.name for p in repository.iterdir() if p.is_dir()] == ["tiny"]  # the bare model took the ensemble's place
    assert (repository / "tiny" / "1" / "model.onnx").exists()


@pytest.mark.parametrize("name", ["photo.jpg", "notes.txt"])
def test_a_folder_that_is_not_a_model_repository_is_left_alone(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    assert run(["build", str(built[0]), "-o", str(tmp_path)]) == 1
    assert "is not a model repository of ours" in capsys.readouterr().err
    assert snapshot(tmp_path) == {name: b"mine"}


def test_a_model_that_we_did_not_write_is_never_overwritten(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny_model" / "1").mkdir(parents=True)
    (tmp_path / "tiny_model" / "config.pbtxt").write_text("by hand")
    assert run(["build", str(built[0]), "-o", str(tmp_path)]) == 1
    assert "was not written by triton-repo" in capsys.readouterr().err
    assert snapshot(tmp_path) == {"tiny_model/config.pbtxt": b"by hand"}


def test_an_output_that_is_a_file_or_cannot_be_written(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["build", str(built[0]), "-o", str(tmp_path / "file")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert run(["build", str(built[0]), "-o", "/proc/repository"]) == 1
    assert "not writable" in capsys.readouterr().err


def test_a_failing_export_leaves_the_repository_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, repository = tiny_detector.write(tmp_path / "s", seed=8), tmp_path / "repo"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    before = snapshot(repository)
    weights = tmp_path / "s" / "tiny.weights"
    weights.write_bytes(weights.read_bytes()[:-40])
    capsys.readouterr()
    assert run(["build", str(spec), "-o", str(repository)]) == 1
    error = capsys.readouterr().err
    assert "tiny.weights: cut short" in error
    assert "Traceback" not in error
    assert snapshot(repository) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["repo", "s"]


def test_a_missing_checkpoint_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tiny_detector.write(tmp_path, seed=9)
    (tmp_path / "tiny.weights").unlink()
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 1
    assert f"{spec}:5: checkpoint.weights: no such file" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize("delay", [0.3, 1.5, 3.0])
def test_an_interrupt_leaves_the_previous_repository_whole(tmp_path: Path, delay: float) -> None:
    spec, repository = tiny_detector.write(tmp_path / "s", seed=10), tmp_path / "repo"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    before = snapshot(repository)
    tiny_detector.write(tmp_path / "s", seed=int(time.time_ns() % 2**32))  # other weights: everything is stale
    command = [sys.executable, "-m", "generator.cli", "build", str(spec), "-o", str(repository)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, error
    assert "interrupted" in error
    assert "Traceback" not in error
    assert snapshot(repository) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["repo", "s"]


def test_two_builds_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_detector.write(tmp_path / "s", seed=11)
    for name in ("one", "two"):
        monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / f"cache-{name}"))
        assert run(["build", str(spec), "-o", str(tmp_path / name)]) == 0
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_nothing_in_the_graph_tells_where_it_was_built(built: tuple[Path, Path]) -> None:
    data = (built[1] / "tiny_model" / "1" / "model.onnx").read_bytes()
    assert b"pkg.torch.onnx" in data  # names of modules are kept: they say which part of the network a node came from
    assert str(Path(graph.__file__).parent).encode() not in data
    assert b"site-packages" not in data


def test_the_final_graph_answers_any_batch(built: tuple[Path, Path]) -> None:
    session = graph.session(built[1] / "tiny_model" / "1" / "model.onnx", threads=1)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    whole = graph.run(session, {"pixels": pixels})
    for row in range(5):
        one = graph.run(session, {"pixels": pixels[row : row + 1]})
        for name, values in one.items():
            np.testing.assert_allclose(values[0], whole[name][row], atol=1e-4, err_msg=name)
    assert whole["num_dets"].sum() > 0


def test_results_that_another_build_takes_away_meanwhile_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path))
    (tmp_path / "steps" / "old").mkdir(parents=True)
    os.utime(tmp_path / "steps" / "old", (0, 0))
    (tmp_path / "steps" / ".staging-gone").symlink_to(tmp_path / "nowhere")  # as if it went between listing and looking
    steps_cache.prune()
    assert not (tmp_path / "steps" / "old").exists()
