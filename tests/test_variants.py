"""`variants:` of a spec: what each becomes, where its mistakes are said to be, and that each is served beside the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_detector

from generator import bench, lock, variants
from generator.bench import Load
from generator.cli import run
from generator.contest import Entrant, Race, verdict
from generator.errors import SpecError, ToolError
from generator.load import Loaded, load_all
from generator.spec import Spec
from generator.verify import Rung

SAID = """\
variants:
  calm:
    target: {kind: onnxruntime, intra_op_threads: 1}
    serving: {instances: {model: 2}}
  strict:
    nms: {kind: onnx, score_threshold: 0.5}
"""


def written(folder: Path, text: str = SAID, seed: int = 71) -> Path:
    path = tiny_detector.write(folder, seed)
    path.write_text(path.read_text() + text)
    return path


def test_each_is_the_spec_with_its_own_keys(tmp_path: Path) -> None:
    spec, calm, strict = load_all([written(tmp_path)])
    assert [one.variant for one in (spec, calm, strict)] == ["", "calm", "strict"]
    assert [one.spec.name for one in (spec, calm, strict)] == ["tiny", "tiny_calm", "tiny_strict"]
    for one in (spec, calm, strict):
        assert isinstance(one.spec, Spec)
        assert one.spec.serving.max_batch_size == 4, "a mapping of settings is merged key by key"
    assert isinstance(calm.spec, Spec)
    assert isinstance(strict.spec, Spec)
    assert calm.spec.serving.instances.model.count == 2
    assert calm.spec.target.model_dump()["intra_op_threads"] == 1
    assert strict.spec.nms is not None
    assert strict.spec.nms.model_dump()["max_detections"] == 100, "a choice of a family is said whole"
    assert not calm.spec.variants


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("  fast:\n    target: {kind: onnxruntim}\n", 21, ["variants.fast.target", "found 'onnxruntim'", "'onnxruntime'"]),
        ("  fast:\n    targt: {}\n", 21, ["unknown key 'targt'", "did you mean 'target'"]),
        ("  fast:\n    serving:\n      max_batch: 4\n", 22, ["variants.fast.serving.max_batch", "did you mean 'max_batch_size'"]),
        ("  fast:\n    serving: {max_batch_size: 0}\n", 21, ["variants.fast.serving.max_batch_size", "found 0"]),
        ("  fast:\n    checkpoint: {}\n", 21, ["unknown key 'checkpoint'"]),
        ("  a-b:\n    opset: 18\n", 20, ["variants.a-b"]),
        ("  model:\n    opset: 18\n", 1, ["'tiny_model' is already made by"]),
        ("  fast: 3\n", 20, ["variants.fast"]),
        ("  fast:\n    opset: 3\n", 21, ["variants.fast.opset: found 3"]),
    ],
)
def test_a_mistake_has_the_line_where_the_variant_says_it(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    path = written(tmp_path, "variants:\n" + text)
    with pytest.raises(SpecError) as caught:
        load_all([path])
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{path}:{line}: "), first
    for word in words:
        assert word in first


def test_a_mistake_about_what_the_spec_says_names_the_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "variants:\n  heavy:\n    target: {kind: tensorrt, ranges: {nope: {1: 3}}}\n")
    assert run(["plan", str(path)]) == 1
    assert f"{path}:21: variants.heavy.target" in capsys.readouterr().err
    half = written(tmp_path / "half", "variants:\n  half:\n    target: pytorch\n").with_name("half.yaml")
    half.write_text((tmp_path / "half" / "tiny.yaml").read_text().replace("name: tiny\n", "name: tiny\nprecision: fp16\n"))
    assert run(["plan", str(half)]) == 1
    assert f"{half}:2: precision.kind (variant half): target pytorch does not run fp16" in capsys.readouterr().err


def test_what_is_found_while_planning_has_its_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "variants:\n  other:\n    nms: {kind: efficient_nms_trt, score_threshold: 0.2}\n")
    assert run(["plan", str(path)]) == 1
    assert f"{path}:21: variants.other.nms.kind: EfficientNMS_TRT is a TensorRT plugin" in capsys.readouterr().err


def test_the_place_of_a_value() -> None:
    said = {"serving": {"max_batch_size": 4}, "variants": {"v": {"serving": {"version": 2}, "target": {"kind": "x"}}}}
    assert variants.place(said, "v", ("serving", "version")) == ("variants", "v", "serving", "version")
    assert variants.place(said, "v", ("serving", "max_batch_size")) == ("serving", "max_batch_size")
    assert variants.place(said, "v", ("target", "kind")) == ("variants", "v", "target", "kind")
    assert variants.place(said, "v", ("checkpoint",)) == ("checkpoint",)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("variants")
    path = written(folder / "spec")
    assert run(["build", str(path), "-o", str(folder / "repository")]) == 0
    return path, folder / "repository"


def test_all_lie_in_one_repository_and_are_verified(built: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    spec, repository = built
    assert sorted(lock.read(repository)) == ["tiny", "tiny_calm", "tiny_strict"]
    assert 'key: "intra_op_thread_count"' in (repository / "tiny_calm_model" / "config.pbtxt").read_text()
    assert "intra_op" not in (repository / "tiny_model" / "config.pbtxt").read_text()
    assert run(["verify", str(spec), "-r", str(repository)]) == 0
    assert "verified: tiny, tiny_calm, tiny_strict" in capsys.readouterr().out


def test_one_is_written_as_onnx(built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["onnx", str(built[0]), "--variant", "strict", "-o", str(tmp_path / "s.onnx")]) == 0
    assert (tmp_path / "s.onnx").stat().st_size > 0
    assert run(["onnx", str(built[0]), "--variant", "strickt"]) == 1
    assert "'strickt'" in capsys.readouterr().err


def test_they_are_compared(built: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    spec, repository = built
    assert run(["compare", str(spec), "-r", str(repository), "--concurrency", "1", "--rounds", "2"]) == 0
    out = capsys.readouterr().out
    for name in ("tiny", "tiny_calm", "tiny_strict"):
        assert f"│ {name} " in out
    assert out.count("ok, ") == 3
    assert "throughput, 1 in flight: tiny" in out
    assert "so few rounds prove nothing" in out


def test_a_wrong_answer_cannot_win(built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    spec, repository = built
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    (copy / "tiny_calm_postprocess" / "labels.txt").write_text("dog\ncat\n")
    assert run(["compare", str(spec), "-r", str(copy), "--concurrency", "1", "--rounds", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("DIVERGES") == 1
    assert "(onnxruntime, fp32)" in out
    assert ": tiny_calm (" not in out


def test_a_repository_of_another_spec_is_not_compared(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(tmp_path, "variants:\n  bare: {}\n")
    assert run(["compare", str(other), "-r", str(built[1])]) == 1
    assert f"holds no tiny_bare; triton-repo build {other}" in capsys.readouterr().err


def test_one_target_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_detector.write(tmp_path, 72)
    assert run(["compare", str(path), "-r", str(tmp_path)]) == 1
    assert "to compare there is tiny alone; say others under `variants:`" in capsys.readouterr().err


def entrant(name: str, throughput: list[float], right: bool = True) -> Entrant:
    from generator.compare import Comparison

    result = Comparison(compared=1) if right else Comparison(compared=1, problems=["wrong"])
    return Entrant(
        name, "onnxruntime", "fp32", Rung(name, "served", "it", result), {1: throughput}, {1: [1 / t for t in throughput]}
    )


@pytest.mark.parametrize(
    ("first", "second", "best", "won", "clear"),
    [
        ([2, 4, 2, 4, 2], [1, 2, 1, 2, 1], "a", 5, True),
        ([1, 4, 2, 4, 2], [2, 2, 1, 2, 1], "a", 4, False),
        ([1, 1, 1], [3, 3, 3], "b", 3, False),
        ([1] * 8, [3] * 7 + [0.5], "b", 7, False),  # either of two equal ones would be so far ahead in 7 comparisons of 100
        ([1] * 9, [3] * 8 + [0.5], "b", 8, True),
    ],
)
def test_a_lead_must_be_more_than_luck(first: list[float], second: list[float], best: str, won: int, clear: bool) -> None:
    for latency in (False, True):
        found = verdict([entrant("a", first), entrant("b", second)], 1, latency)
        assert found is not None
        assert (found.best.name, found.won, found.clear) == (best, won, clear)


def test_a_slow_target_gets_a_longer_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 2 s: perf_analyzer 2.51 ended with these words at 500 ms, and measured it at 8 s."""
    windows: list[int] = []

    def measure(tool: object, load: Load, level: int, window: int) -> dict[str, float]:
        windows.append(window)
        if window < least:
            raise ToolError(f"perf_analyzer ended with code 3 at concurrency {level}: No valid requests recorded within time", "")
        return {"throughput": 0.5}

    monkeypatch.setattr(bench, "measure", measure)
    race = Race(None, "", None, (1,), 2)  # type: ignore[arg-type]
    least = 8000
    assert race.measured(Load("", "m", tmp_path), 1, 500) == {"throughput": 0.5}
    assert windows == [500, 2000, 8000]
    least = 10**9
    with pytest.raises(ToolError, match="No valid requests"):
        race.measured(Load("", "m", tmp_path), 1, 500)


def test_who_serves_something_else_is_no_winner() -> None:
    assert verdict([entrant("a", [9, 9]), entrant("b", [1, 1], right=False)], 1) is None
    found = verdict([entrant("a", [9, 9]), entrant("b", [99, 99], right=False), entrant("c", [1, 1])], 1)
    assert found is not None
    assert found.best.name == "a"


def test_a_spec_without_variants_is_one(tmp_path: Path) -> None:
    (one,) = load_all([tiny_detector.write(tmp_path, 73)])
    assert isinstance(one, Loaded)
    assert one.variant == ""
