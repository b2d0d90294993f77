"""Rolling forward and back under load loses no request: counted, in poll and in explicit mode, by build and by push."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import load
import pytest
import tritonclient.grpc as triton

from generator import repository
from generator.cli import run
from generator.server import Server


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> load.Scenario:
    return load.Scenario(tmp_path_factory.mktemp("rollout"))


@pytest.fixture
def served(scenario: load.Scenario, tmp_path: Path) -> Iterator[Path]:
    """A copy of version 1 that a server may serve and a push may replace."""
    scenario.build(1)
    yield Path(shutil.copytree(scenario.repository, tmp_path / "served"))
    scenario.build(1)


def mode(name: str, scenario: load.Scenario) -> dict[str, Any]:
    return load.poll() if name == "poll" else load.explicit(scenario)


@pytest.mark.parametrize("control", ["poll", pytest.param("explicit", marks=pytest.mark.full)])
def test_build_into_the_served_repository(scenario: load.Scenario, control: str) -> None:
    scenario.build(1)
    with Server(scenario.repository, **mode(control, scenario)) as server:
        with scenario.load(server) as loaded:
            rolls = load.roll(scenario, server, loaded, [2, 1])
        load.judged(loaded, rolls)


@pytest.mark.parametrize("control", [pytest.param("poll", marks=pytest.mark.full), "explicit"])
def test_push_to_the_served_repository(scenario: load.Scenario, served: Path, control: str) -> None:
    with Server(served, **mode(control, scenario)) as server:
        with scenario.load(server) as loaded:
            rolls = load.roll(scenario, server, loaded, [2, 1], to=str(served))
        load.judged(loaded, rolls)


@pytest.mark.full
@pytest.mark.parametrize("control", ["poll", "explicit"])
@pytest.mark.parametrize("way", ["build", "push"])
def test_many_changes_one_upon_the_other(scenario: load.Scenario, served: Path, control: str, way: str) -> None:
    """Without a pause: a server that polls is still busy with the last change when the next one comes."""
    place = scenario.repository if way == "build" else served
    with Server(place, **mode(control, scenario)) as server:
        with scenario.load(server, threads=3) as loaded:
            rolls = load.roll(scenario, server, loaded, [2, 1] * 5, to="" if way == "build" else str(served), pause=0.2)
        for step in rolls:
            step.after = {model: seen or Counter({step.version: 0}) for model, seen in step.after.items()}
        load.judged(loaded, rolls)


REFUSING = """\
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("this one does not start")
"""
GOOD = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        xs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]) for x in xs]
"""
FOLDER = """\
name: hand
folder: hand
config:
  backend: python
  max_batch_size: 4
  input: [{name: x, data_type: TYPE_FP32, dims: [4]}]
  output: [{name: y, data_type: TYPE_FP32, dims: [4]}]
"""


def by_hand(folder: Path, **versions: str) -> Path:
    """The spec of a hand-made python model with these versions."""
    shutil.rmtree(folder / "hand", ignore_errors=True)
    for version, code in versions.items():
        (folder / "hand" / version.removeprefix("v")).mkdir(parents=True)
        (folder / "hand" / version.removeprefix("v") / "model.py").write_text(code)
    (folder / "hand.yaml").write_text(FOLDER)
    return folder / "hand.yaml"


def test_a_version_that_does_not_start_leaves_the_old_one_serving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "served"
    load.run("build", by_hand(tmp_path, v1=GOOD), "-o", tmp_path / "repo")
    load.run("push", tmp_path / "repo", place)
    with Server(place, model_control="explicit", load=["hand"]) as server:
        load.run("build", by_hand(tmp_path, v1=GOOD, v2=REFUSING), "-o", tmp_path / "repo")
        capsys.readouterr()
        assert run(["push", str(tmp_path / "repo"), str(place), "--server", server.grpc_url]) == 1
        error = capsys.readouterr().err
        assert "model 'hand' was not loaded" in error
        assert "this one does not start" in error
        assert "To roll back: `serving.version: 1` in the spec of hand" in error
        assert server.models == ["hand"]
        load.run("build", by_hand(tmp_path, v1=GOOD), "-o", tmp_path / "repo")
        assert "hand: version 1 ready" in load.run("push", tmp_path / "repo", place, "--server", server.grpc_url)


def test_a_version_that_vanishes_while_it_is_loaded_does_not_hang_the_server(tmp_path: Path) -> None:
    """What generator/leaving.py is for: without its two steps the server never answers this load, nor any later one."""
    place = tmp_path / "repo"
    load.run("build", by_hand(tmp_path, v1=GOOD), "-o", place)
    with Server(place, model_control="explicit", load=["hand"]) as server:
        load.run("build", by_hand(tmp_path, v1=GOOD, v2=GOOD), "-o", place)
        client = triton.InferenceServerClient(server.grpc_url)
        back = by_hand(tmp_path, v1=GOOD)
        failed: list[Exception] = []

        def loading() -> None:
            try:
                triton.InferenceServerClient(server.grpc_url).load_model("hand", client_timeout=20)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=loading)
        exchange = repository._exchange

        def at_the_worst_moment(new: Path, old: Path) -> None:
            if not thread.ident:
                thread.start()
                time.sleep(0.01)
            exchange(new, old)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repository, "_exchange", at_the_worst_moment)
            load.run("build", back, "-o", place)
        thread.join(30)
        assert failed == []
        client.load_model("hand", client_timeout=20)
        ready = {int(e.version) for e in client.get_model_repository_index().models if e.state == "READY"}
        assert ready == {1}


@pytest.mark.parametrize("unload", [True, False])
def test_models_that_are_gone_are_unloaded_when_asked(tmp_path: Path, unload: bool) -> None:
    scenario = load.specs(tmp_path / "v1", 1)
    place, gone = tmp_path / "served", ["tiny_model", "tiny_postprocess", "tiny_preprocess"]
    load.run("build", *scenario, "-o", tmp_path / "repo")
    load.run("push", tmp_path / "repo", place)
    ensemble = scenario[1]
    with Server(place, model_control="explicit", load=["scaled", *gone, "tiny"]) as server:
        ensemble.write_text(ensemble.read_text().split("preprocess:")[0] + "serving: {version: 1, keep: 0}\n")
        load.run("build", *scenario, "-o", tmp_path / "repo")
        flag = ["--unload-retired"] if unload else []
        said = load.run("push", tmp_path / "repo", place, "--server", server.grpc_url, *flag)
        assert ("still loaded, though gone" in said) is not unload
        assert not any((place / name).exists() for name in gone)
        client = triton.InferenceServerClient(server.grpc_url)
        assert [name for name in gone if client.is_model_ready(name)] == ([] if unload else gone)
