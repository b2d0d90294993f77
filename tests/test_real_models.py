"""The trained models of the project, from checkpoint to served answer: what is known to be on the photos is found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from generator.answers import Classification, Detections
from generator.build import plan
from generator.cli import run
from generator.client import Client
from generator.compare import iou

SPECS = ("ensembles/efficientnet_lite0.yaml", "ensembles/yolov4_tiny.yaml", "examples/yolov4_tiny_pt.yaml")


@pytest.fixture(scope="module")
def repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every committed spec, built and climbed through the parity ladder."""
    subprocess.run([sys.executable, str(root / "scripts" / "darknet_to_pt.py")], check=True)
    repository = tmp_path_factory.mktemp("real") / "repo"
    specs = [str(root / name) for name in SPECS]
    assert run(["build", *specs, "-o", str(repository)]) == 0
    assert run(["verify", *specs, "-r", str(repository)]) == 0
    return repository


@pytest.fixture(scope="module")
def url(repository: Path, server: Callable[..., Any]) -> str:
    return str(server(repository).grpc_url)


@pytest.mark.parametrize("model", ["yolov4_tiny", "yolov4_tiny_pt"])
def test_the_bus_and_the_people_before_it(root: Path, url: str, model: str) -> None:
    with Client(url, model=model) as client:
        (found,) = client.infer([root / "weights" / "yolov4-tiny" / "bus.jpg"])
    assert isinstance(found, Detections)
    people = [score for label, score in zip(found.labels, found.scores, strict=True) if label == "person"]
    buses = [score for label, score in zip(found.labels, found.scores, strict=True) if label == "bus"]
    assert sum(score > 0.9 for score in people) == 2
    assert len(people) == 3
    assert len(buses) == 1
    assert buses[0] == pytest.approx(0.9, abs=0.05)
    bus = np.array([[20.0, 230.0, 805.0, 760.0]])  # by eye, from the photo
    assert iou(found.boxes[[found.labels.index("bus")]], bus)[0, 0] > 0.75


def test_both_ways_to_the_same_detector_give_the_same_boxes(root: Path, url: str) -> None:
    photos = [root / "weights" / "yolov4-tiny" / name for name in ("bus.jpg", "zidane.jpg")]
    with Client(url, model="yolov4_tiny") as one, Client(url, model="yolov4_tiny_pt") as two:
        for a, b in zip(one.infer(photos), two.infer(photos), strict=True):
            assert isinstance(a, Detections)
            assert isinstance(b, Detections)
            assert list(a.labels) == list(b.labels)
            assert len(a.labels) > 1
            np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)


@pytest.mark.parametrize(("photo", "label"), [("chelsea.png", "Egyptian cat"), ("coffee.png", "espresso")])
def test_what_is_on_the_photo_is_the_likeliest_class(root: Path, url: str, photo: str, label: str) -> None:
    with Client(url, model="efficientnet_lite0") as client:
        (found,) = client.infer([root / "weights" / "photos" / photo])
    assert isinstance(found, Classification)
    assert found.labels[0] == label
    assert 0 < sum(found.scores) <= 1


def blocks(root: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.S)


def test_the_readmes_spec_is_the_one_that_is_built(root: Path) -> None:
    shown, *_ = blocks(root, "yaml")
    assert yaml.safe_load(shown) == yaml.safe_load((root / "ensembles" / "yolov4_tiny.yaml").read_text())


@pytest.mark.parametrize(("number", "models"), [(1, 2), (2, 1)])
def test_the_readmes_short_forms_are_right(root: Path, tmp_path: Path, number: int, models: int) -> None:
    whole, *shorts = (yaml.safe_load(block) for block in blocks(root, "yaml"))
    assert len(shorts) == 2
    short = shorts[number - 1]
    spec = tmp_path / "spec.yaml"
    weights = str(root / "weights" / "yolov4-tiny")
    text = yaml.safe_dump(whole | short).replace("../weights/yolov4-tiny", weights).replace("- bus.jpg", f"- {weights}/bus.jpg")
    spec.write_text(text)
    planned = plan([spec], tmp_path / "repository")
    assert len(planned) == models
    assert not [warning for one in planned for warning in one.warnings]


def test_the_readmes_python_runs(
    root: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = blocks(root, "python")
    monkeypatch.chdir(root)
    exec(shown.replace("127.0.0.1:8001", url), {})
    assert "bus" in capsys.readouterr().out


def test_every_command_of_the_readme_exists(root: Path) -> None:
    named = set(re.findall(r"triton-repo ([a-z]+)", (root / "README.md").read_text())) - {"generator", "pipeline"}
    commands = {path.stem for path in (root / "generator" / "commands").glob("*.py")} - {"__init__"}
    assert named == commands
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z-]+)", (root / "README.md").read_text())) <= targets | {"on"}
