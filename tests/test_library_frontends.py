"""Kinds of checkpoint whose library is an extra: what is said where it is not installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml

from generator import evaluation_table
from generator.cli import run
from generator.preprocess_hint import parsed


@pytest.mark.parametrize(("kind", "model"), [("timm", "resnet18"), ("torchvision", "resnet18")])
def test_a_missing_extra_is_named_with_the_line_that_installs_it(
    tmp_path: Path, kind: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(kind):
        pytest.skip(f"{kind} is installed")
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    checkpoint = {"kind": kind, "model": model, "weights": "w.pth"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"name": "net", "checkpoint": checkpoint}))
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"checkpoint kind {kind} needs the package {kind}" in said
    assert f"pip install triton-repo-generator[{kind}]" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("library", "model", "said"),
    [
        ("timm", "convnext_atto", {"kind": "timm"}),
        ("timm", "resnet18.a1_in1k", {"kind": "timm", "crop_pct": 0.95}),
        ("torchvision", "resnet18", {"kind": "torchvision_classification"}),
        ("torchvision", "ssd300_vgg16", {"kind": "torchvision_ssd"}),
        ("torchvision", "fcn_resnet50", {}),
        ("timm", "a_model_of_tomorrow", {}),
    ],
)
def test_how_a_model_is_evaluated_is_known_without_its_library(library: str, model: str, said: dict[str, object]) -> None:
    assert evaluation_table.preprocessing(library, model) == said


def test_every_line_of_the_table_is_a_preset() -> None:
    table = json.loads(evaluation_table.TABLE.read_text())
    assert {library: len(lines) > 5 for library, lines in table.items()} == {"timm": True, "torchvision": True}
    for lines in table.values():
        for said in lines:
            assert parsed(json.loads(said)).kind == json.loads(said)["kind"]
