"""triton-repo check: what it prints in each format, its exit codes, and what it says at plan time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_detector
from differential import seeds

from generator import pbtxt
from generator.cli import run

WRONG = 'backend: "python"\nmax_batch_size: 4\ninput { name: "I" data_type: TYPE_FP32 dims: 4 }\ndynamic_batching {\n  preferred_batch_size: [ 4,\n  8 ]\n}\n'


def broken(folder: Path) -> Path:
    """One model with an error on line 6 and a warning on line 5, one that is right, one that cannot be read."""
    for name, text in (("wrong", WRONG), ("right", 'backend: "python"\n' + WRONG.split("\n", 2)[1]), ("rubbish", "{{{")):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(seeds.IDLE)
        (folder / name / "config.pbtxt").write_text(text)
    return folder


def test_text_names_file_line_field_and_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(broken(tmp_path))]) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path}/wrong/config.pbtxt:6: error dynamic_batching.preferred_batch_size[1] [batching/preferred]" in said
    assert "    found     8\n    expected  at most max_batch_size, 4\n    remedy    raise that, or remove the size" in said
    assert f"{tmp_path}/rubbish/config.pbtxt:1: error" in said
    assert "3 models: 2 errors, no warnings" in said
    assert "right" not in said.split("\n")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(broken(tmp_path)), "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["models"], said["errors"], said["warnings"]) == (3, 2, 0)
    found = {finding["model"]: finding for finding in said["findings"]}
    assert found["wrong"]["file"] == f"{tmp_path}/wrong/config.pbtxt"
    assert (found["wrong"]["line"], found["wrong"]["rule"], found["wrong"]["found"]) == (6, "batching/preferred", "8")
    assert set(found["wrong"]) == {
        "level",
        "rule",
        "model",
        "field",
        "found",
        "expected",
        "remedy",
        "where",
        "source",
        "file",
        "line",
    }


def test_github_annotations_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a,b:c"
    assert run(["check", str(broken(folder)), "--format", "github"]) == 1
    lines = capsys.readouterr().out.strip().split("\n")
    where = str(folder).replace(",", "%2C").replace(":", "%3A")
    assert f"::error file={where}/wrong/config.pbtxt,line=6,title=batching/preferred::wrong: dynamic_batching" in lines[1]
    assert all(line.startswith("::error file=") for line in lines)


def test_sarif_has_what_the_standard_wants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path / "repo")
    monkeypatch.chdir(tmp_path)
    assert run(["check", "repo", "--format", "sarif"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["version"] == "2.1.0"
    (work,) = said["runs"]
    rules = work["tool"]["driver"]["rules"]
    assert {rule["id"] for rule in rules} == {"batching/preferred", "config/syntax"}
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    for result in work["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        assert result["message"]["text"]
        (place,) = result["locations"]
        physical = place["physicalLocation"]
        assert not physical["artifactLocation"]["uri"].startswith("/")
        assert physical["region"]["startLine"] >= 1
    assert [r["locations"][0]["physicalLocation"]["region"]["startLine"] for r in work["results"]] == [1, 6]


def test_one_model_folder_is_judged_among_its_neighbours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken(tmp_path)
    assert run(["check", str(tmp_path / "right")]) == 0
    assert "1 model: no errors" in capsys.readouterr().out
    assert run(["check", str(tmp_path / "wrong")]) == 1


def test_rules_can_be_left_out_and_warnings_made_to_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken(tmp_path)
    shutil.rmtree(tmp_path / "rubbish")
    assert run(["check", str(tmp_path), "--ignore", "batching/preferred"]) == 0
    (tmp_path / "wrong" / "config.pbtxt").write_text(WRONG.replace(",\n  8", ",\n  2"))
    assert run(["check", str(tmp_path)]) == 0
    assert "regret/preferred_never_waits" in capsys.readouterr().out
    assert run(["check", str(tmp_path), "--warnings-as-errors"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone"], "gone: no such folder; name a model repository"),
        (["empty"], "empty: holds no model folder"),
        (["empty", "--ignore", "io/dim"], "no rule 'io/dim'; did you mean io/dims"),
        (["empty", "--server", "new"], "found 'new'; expected a version of tritonserver"),
        (["empty", "--format", "xml"], "'xml' is not one of"),
        (["empty", "--gpus", "-1"], "not in the range"),
    ],
)
def test_mistakes_end_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run(["check", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_rules_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--list-rules"]) == 0
    assert "ensemble/circle" in capsys.readouterr().out


def test_gpus_and_server_decide(tmp_path: Path) -> None:
    config = seeds.singles()["plain"].config
    assert config is not None
    config.instance_group[0].kind = 1
    (tmp_path / "plain" / "1").mkdir(parents=True)
    (tmp_path / "plain" / "1" / "model.py").write_text(seeds.IDLE)
    (tmp_path / "plain" / "config.pbtxt").write_text(pbtxt.text(config))
    assert run(["check", str(tmp_path)]) == 0
    assert run(["check", str(tmp_path), "--gpus", "1"]) == 0
    assert run(["check", str(tmp_path), "--gpus", "0"]) == 1
    config.instance_group[0].kind = 2
    config.model_metrics.SetInParent()
    (tmp_path / "plain" / "config.pbtxt").write_text(pbtxt.text(config))
    assert run(["check", str(tmp_path), "--server", "2.60"]) == 0
    assert run(["check", str(tmp_path), "--server", "24.10"]) == 1


def test_check_imports_nothing_heavy(tmp_path: Path) -> None:
    broken(tmp_path)
    code = f"import sys; from generator.cli import run; run(['check', {str(tmp_path)!r}]); print(sorted({{'torch', 'onnx', 'numpy', 'grpc', 'onnxruntime', 'jinja2', 'cv2'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


#: What is added under `serving:` or `config:` of the tiny detector, and what the plan answers.
AT_PLAN_TIME = [
    (
        "config:\n  model:\n    instance_group: [{kind: KIND_CPU, gpus: [0]}]\n",
        "tiny_model: instance_group[0].gpus: found [0] on KIND_CPU",
    ),
    ("config:\n  ensemble:\n    model_warmup: [{name: w, batch_size: 1}]\n", "tiny: model_warmup: found said for an ensemble"),
    ("config:\n  ensemble:\n    max_batch_size: 64\n", "tiny: max_batch_size: found 64"),
    (
        "config:\n  preprocess:\n    dynamic_batching: {priority_levels: 2}\n",
        "tiny_preprocess: dynamic_batching.default_priority_level: found 0",
    ),
    (
        "config:\n  postprocess:\n    version_policy: {specific: {versions: [3]}}\n",
        "tiny_postprocess: version_policy: found versions 1",
    ),
    ("config:\n  model:\n    model_metrics: {}\n", "model_metrics"),
]


@pytest.mark.parametrize(("added", "said"), AT_PLAN_TIME)
def test_what_the_server_would_refuse_is_refused_before_any_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], added: str, said: str
) -> None:
    spec = tiny_detector.write(tmp_path, 77)
    lines = spec.read_text().count("\n")
    spec.write_text(spec.read_text() + added)
    assert run(["build", str(spec), "-o", str(tmp_path / "repository")]) == 1
    error = capsys.readouterr().err
    assert said in error
    line = int(error.split("tiny.yaml:")[1].split(":")[0])
    assert line > lines, error
    assert not (tmp_path / "repository").exists()


def test_warnings_are_shown_and_the_build_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tiny_detector.write(tmp_path, 78)
    spec.write_text(spec.read_text().replace("serving:\n", "serving:\n  dynamic_batching: {preferred_batch_sizes: [2]}\n"))
    assert run(["plan", str(spec), "-o", str(tmp_path / "repository")]) == 0
    said = capsys.readouterr().err
    assert f"{spec}:16: warning: tiny_model: dynamic_batching.preferred_batch_size: found [2] with max_queue_delay" in said
    assert run(["build", str(spec), "-o", str(tmp_path / "repository")]) == 0
    assert "regret/preferred_never_waits" in capsys.readouterr().err


@pytest.mark.parametrize("more", [("--compute-capability", "8.6"), ("--timeout", "5")])
def test_options_of_the_pre_flight_need_it(tmp_path: Path, more: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path), *more]) == 1
    assert f"{more[0]} goes with --tensorrt" in capsys.readouterr().err
