"""The parity ladder fails on the rung that was broken, and passes nothing that it did not compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
import tiny_detector
from onnx import numpy_helper

from generator import run as runner
from generator.bounds import Bounds
from generator.build import plan
from generator.cli import run
from generator.compare import detections, tensors


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("verify")
    spec = tiny_detector.write(folder / "specs", seed=21)
    assert run(["build", str(spec), "-o", str(folder / "repo")]) == 0
    return spec, folder / "repo"


@pytest.fixture
def copy(built: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A repository of one's own to break."""
    shutil.copytree(built[1], tmp_path / "repo")
    return built[0], tmp_path / "repo"


def climb(spec: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run(["verify", str(spec), "-r", str(repository), "--json"])
    captured = capsys.readouterr()
    return code, {rung["name"]: rung for rung in json.loads(captured.out)} if captured.out else {}, captured.err


def test_every_rung_of_a_sound_repository_holds(built: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, rungs, error = climb(*built, capsys)
    assert code == 0, error
    assert list(rungs) == ["pixels", "exported ONNX", "after surgery", "served"]
    for rung in rungs.values():
        assert rung["ok"]
        assert rung["result"]["compared"] > 0
    # a picture alone and both as one batch: every box twice on the last rungs
    assert (
        rungs["served"]["result"]["boxes"]
        == rungs["served"]["result"]["matched"]
        == 2 * rungs["exported ONNX"]["result"]["boxes"]
        > 0
    )


def test_wrong_pixels(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    served = copy[1] / "tiny_preprocess" / "1" / "model.py"
    text = served.read_text()
    assert "return free // 2 if" in text
    served.write_text(text.replace("return free // 2 if", "return free // 2 + 1 if"))
    code, rungs, error = climb(*copy, capsys)
    assert code == 1
    assert not rungs["pixels"]["ok"]
    assert "first rung that diverges is 'pixels'" in error


def scale_weights(path: Path, factor: float) -> None:
    model = onnx.load(path)
    kernel = next(i for i in model.graph.initializer if len(i.dims) == 4)
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(factor), kernel.name))
    onnx.save(model, path)


def test_an_export_that_is_not_the_checkpoint(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (planned,) = plan([copy[0]], copy[1])
    exported = runner.cached(planned.steps[0])
    assert exported is not None
    good = (exported / "model.onnx").read_bytes()
    try:
        scale_weights(exported / "model.onnx", 1.01)
        code, rungs, error = climb(*copy, capsys)
    finally:
        (exported / "model.onnx").write_bytes(good)
    assert code == 1
    assert [name for name, rung in rungs.items() if not rung["ok"]] == ["exported ONNX"]
    assert "it would need" in error


def test_a_surgery_that_changed_the_answer(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    scale_weights(copy[1] / "tiny_model" / "1" / "model.onnx", 1.05)
    code, rungs, error = climb(*copy, capsys)
    assert code == 1
    assert [name for name, rung in rungs.items() if not rung["ok"]] == ["after surgery", "served"]
    assert "'after surgery'" in error


def test_wrong_labels_are_found_on_the_served_rung(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (copy[1] / "tiny_postprocess" / "labels.txt").write_text("dog\ncat\n")
    code, rungs, error = climb(*copy, capsys)
    assert code == 1
    assert [name for name, rung in rungs.items() if not rung["ok"]] == ["served"]
    assert "label b'" in error


def test_nothing_to_compare_is_a_failure(copy: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = copy[0].with_name("blind.yaml")
    spec.write_text(tiny_detector.SPEC.split("verify:")[0])
    code, _, error = climb(spec, copy[1], capsys)
    assert code == 1
    assert "names no picture" in error


def test_a_repository_that_is_not_the_specs(copy: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = copy[0].with_name("newer.yaml")
    spec.write_text(tiny_detector.SPEC.replace("0.2", "0.3"))
    code, _, error = climb(spec, copy[1], capsys)
    assert code == 1
    assert "as it is now (changed: surgery" in error
    assert "triton-repo build" in error


def test_a_sample_that_the_checkpoint_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeded numbers are no shape; with one from the spec the same model is verified."""
    onnx.save(graphs.model("float[batch, 8] x, int64[2] shape => float[a, b] y", "y = Reshape(x, shape)"), tmp_path / "m.onnx")
    spec = tmp_path / "shaped.yaml"
    text = "name: shaped\ncheckpoint: {kind: onnx, file: m.onnx}\n"
    spec.write_text(text)
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    code, _, err = climb(spec, tmp_path / "repo", capsys)
    assert code == 1
    assert "error: shaped: the checkpoint does not run with x [2, 8], shape [2]: Fail: " in err
    assert err.rstrip().endswith("; name inputs that it takes under `verify:` (samples, images)")
    spec.write_text(f"{text}verify: {{samples: [{{shape: [4, 4]}}]}}\n")
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    code, report, _ = climb(spec, tmp_path / "repo", capsys)
    assert code == 0, report


def contract(*boxes: tuple[float, int, tuple[float, float, float, float]]) -> dict[str, Any]:
    return {
        "num_dets": np.array([[len(boxes)]], np.int32),
        "det_boxes": np.array([[b for _, _, b in boxes]], np.float32).reshape(1, -1, 4),
        "det_scores": np.array([[s for s, _, _ in boxes]], np.float32),
        "det_classes": np.array([[c for _, c, _ in boxes]], np.int32),
    }


BOX = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ("expected", "found", "problem"),
    [
        (contract((0.9, 1, BOX)), contract((0.9, 1, BOX)), ""),
        (contract(), contract(), ""),
        # cut to nothing at the edge, still the same box
        (contract((0.9, 1, (5, 9, 7, 9))), contract((0.9, 1, (5, 9, 7, 9))), ""),
        (contract((0.9, 1, BOX)), contract(), "1 boxes found no partner"),
        (contract(), contract((0.9, 1, BOX)), "1 boxes found no partner"),
        (contract((0.9, 1, BOX)), contract((0.9, 2, BOX)), "2 boxes found no partner"),
        (contract((0.9, 1, BOX)), contract((0.9, 1, (10, 10, 50, 55))), "2 boxes found no partner"),
        (contract((0.9, 1, BOX)), contract((0.89, 1, BOX)), "scores differ by 0.01"),
        (contract((0.2505, 1, BOX)), contract(), ""),  # the threshold decided
        (contract((0.9, 1, BOX)), {"num_dets": np.ones((1, 1))}, "det_boxes, det_scores, det_classes missing"),
        (contract((0.9, 1, BOX)), {n: np.concatenate([v, v]) for n, v in contract((0.9, 1, BOX)).items()}, "2 pictures answered"),
    ],
)
def test_detections_are_matched(expected: Any, found: Any, problem: str) -> None:
    result = detections(expected, found, Bounds(), 0.25)
    assert result.ok == (not problem)
    assert problem in "; ".join(result.problems)


def test_tensors_are_compared_one_by_one() -> None:
    a = {"x": np.array([1.0, 100.0]), "n": np.array([1, 2])}
    assert tensors(a, {"x": a["x"] + [0, 0.009], "n": a["n"]}, 0.0, 1e-4).ok
    worse = tensors(a, {"x": a["x"] + [0, 0.02], "n": a["n"]}, 0.001, 1e-4)
    assert worse.problems == ["x differs by 0.02; the absolute bound is 0.001, it would need 0.01"]
    assert "n: 1 of 2 values differ, first at [1]" in tensors(a, {"x": a["x"], "n": np.array([1, 3])}, 0, 0).problems[0]
    assert "x is missing" in tensors(a, {"n": a["n"]}, 0, 0).problems[0]
    assert "has shape [1], expected [2]" in tensors(a, {"x": a["x"][:1], "n": a["n"]}, 0, 0).problems[0]
    assert "NaN" in tensors(a, {"x": np.array([np.nan, 100.0]), "n": a["n"]}, 9, 9).problems[0]
    assert not tensors({}, {}, 1, 1).ok
