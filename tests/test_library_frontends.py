"""Kinds of checkpoint whose library is an extra: what is said where it is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import yaml

from generator.cli import run


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
