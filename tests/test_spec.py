"""What a user's YAML may say, and what is answered when it says something else."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from generator.cli import run
from generator.errors import SpecError
from generator.load import load, load_all
from generator.spec import json_schema

GOOD = """\
name: thing
checkpoint:
  kind: onnx
  file: model.onnx
serving:
  max_batch_size: 4
"""


def write(folder: Path, text: str, name: str = "thing.yaml") -> Path:
    (folder / "model.onnx").write_bytes(b"")
    (folder / "labels.txt").write_text("cat\ndog\n")
    path = folder / name
    path.write_text(text)
    return path


def test_a_good_spec_loads_with_paths_beside_it(tmp_path: Path) -> None:
    spec = load(write(tmp_path, GOOD))
    assert spec.checkpoint.files.__self__.file == tmp_path / "model.onnx"  # type: ignore[attr-defined]
    assert spec.serving.max_batch_size == 4


def test_a_kind_that_needs_nothing_else_is_said_in_one_word(tmp_path: Path) -> None:
    long = load(write(tmp_path, GOOD + "target: {kind: onnxruntime}\nprecision: {kind: fp16}\n"))
    text = GOOD + "target: onnxruntime\nprecision: fp16\n"
    assert load(write(tmp_path, text)) == long
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: thing", "nmae: thing", 1, ["nmae", "did you mean 'name'"]),
        ("name: thing", "name: thing\ntarget: onnxrt", 2, ["target: kind: found 'onnxrt'", "expected one of 'onnxruntime'"]),
        ("checkpoint:\n  kind: onnx\n  file: model.onnx", "checkpoint: onnx", 2, ["checkpoint.file: missing"]),
        ("name: thing", "name: a/b", 1, ["'a/b'", "letters, digits"]),
        ("name: thing", "name: a..b", 1, ["'a..b'"]),
        ("name: thing", "name: ..", 1, ["'..'"]),
        ("name: thing", "name: a b", 1, ["'a b'"]),
        ("name: thing", "name: [1]", 1, ["found [1]", "string"]),
        ("kind: onnx", "kind: onx", 2, ["'onx'", "'onnx'", "'darknet'"]),
        ("  kind: onnx\n", "", 2, ["found none", "'onnx'"]),
        ("file: model.onnx", "file: other.onnx", 4, ["no such file", "other.onnx", "make weights"]),
        ("file: model.onnx", "file: .", 4, ["not a file"]),
        ("file: model.onnx", "fil: model.onnx", 4, ["unknown key 'fil'", "did you mean 'file'"]),
        ("max_batch_size: 4", "max_batch_size: four", 6, ["'four'", "integer"]),
        ("max_batch_size: 4", "max_batch_size: 0", 6, ["found 0", "greater than or equal to 1"]),
        ("  max_batch_size: 4\n", "", 5, ["serving: found nothing; expected a mapping"]),
        ("serving:", "variants: [a]\nserving:", 5, ["variants: found ['a']; expected a mapping"]),
        ("max_batch_size: 4", "max_batchsize: 4", 6, ["did you mean 'max_batch_size'"]),
        ("max_batch_size: 4", "dynamic_batching: {preferred_batch_sizes: [16]}", 5, ["[16] never form", "max_batch_size is 8"]),
        ("max_batch_size: 4", "max_batch_size: 4\n  max_batch_size: 5", 7, ["said twice"]),
        ("max_batch_size: 4", "max_batch_size: [", 7, ["not YAML"]),
        ("serving:", "nms: {kind: onnx, score_threshold: 1.5}\nserving:", 5, ["1.5", "less than or equal to 1"]),
        ("serving:", "head: {kind: yolov4, classes: 2, levels: [{anchors: [[1, 2]]}]}\nserving:", 1, ["a head without nms"]),
        ("serving:", "preprocess: {kind: letterbox}\nserving:", 1, ["preprocess and postprocess"]),
        ("serving:", "preprocess: {kind: letterbox, scale: 1/0}\nserving:", 5, ["'1/0'", "fraction"]),
        ("name: thing", "name: &a thing\nopset: *a", 2, ["aliases"]),
    ],
)
def test_a_mistake_is_answered_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: list[str]) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load(path)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{path}:{line}: "), first
    for word in words:
        assert word in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, GOOD.replace("name: thing", "nam: thing").replace("4", "x")))
    assert len(str(caught.value).splitlines()) == 3  # nam unknown, name missing, max_batch_size


def test_two_pipelines_may_not_write_one_model(tmp_path: Path) -> None:
    one, two = write(tmp_path, GOOD), write(tmp_path, GOOD, "two.yaml")
    with pytest.raises(SpecError, match=r"two.yaml:1: name: the model 'thing' is already made by .*thing.yaml"):
        load_all([one, two])


def test_a_missing_or_huge_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="at most 1000000"):
        load(write(tmp_path, "#" * 1_000_001))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        load(write(tmp_path, "a: " + "[" * 100_000))


def test_code_in_yaml_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        load(write(tmp_path, GOOD.replace("thing", "!!python/object/apply:os.system ['touch pwned']")))
    assert not Path("pwned").exists()


def test_the_committed_schema_is_the_current_one(root: Path) -> None:
    committed = json.loads((root / "docs" / "schema.json").read_text())
    assert committed == json_schema(), "run: triton-repo schema > docs/schema.json"


def test_the_schema_accepts_every_spec_of_the_project_and_refuses_a_wrong_key(root: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    specs = [*root.glob("ensembles/*.yaml"), *root.glob("examples/*.yaml")]
    assert len(specs) >= 3
    for path in specs:
        text = path.read_text()
        assert text.startswith("# yaml-language-server: $schema=../docs/schema.json")
        data = yaml.safe_load(text)
        validator.validate(data)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**data, "nme": 1})


def test_usage_errors_exit_1_and_help_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == 1
    assert run(["nonsense"]) == 1
    assert run(["--help"]) == 0
    assert "build" in capsys.readouterr().out
