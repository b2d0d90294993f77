"""What the checker, verify, serve and deploy make of engines: of those that are pending, and of those that do not fit.

Plans are headers that the programs of tests/gpu_host.py leave; servers are real, and have no tensorrt backend here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from gpu_host import GpuHost, gpu_host, write_spec
from tiny_models import identity, tensors, write

from generator import check, loadable, machine
from generator.cli import run
from generator.server import Server

__all__ = ["gpu_host"]


@pytest.fixture
def pending(tmp_path: Path) -> Path:
    """A repository whose engine is still to be built."""
    assert run(["build", str(write_spec(tmp_path / "spec")), "-o", str(tmp_path / "repository")]) == 0
    return tmp_path / "repository"


@pytest.fixture
def built(pending: Path, gpu_host: GpuHost) -> Path:
    """The same, with the engine."""
    assert run(["engines", str(pending)]) == 0
    return pending


def found(repository: Path, server: tuple[int, ...] = (2, 51)) -> list[tuple[str, str]]:
    here = machine.look()
    world, broken = check.read(repository, server=server, machine=here if here.gpus else None)
    assert broken == []
    return [(finding.level, finding.rule) for finding in check.check(world) if finding.model == "times"]


def _replaced(content: bytes) -> Callable[[Path, GpuHost], None]:
    def write_over(version: Path, _: GpuHost) -> None:
        (version / "model.plan").write_bytes(content)

    return write_over


def _cut(version: Path, _: GpuHost | None) -> None:
    plan = version / "model.plan"
    plan.write_bytes(plan.read_bytes()[:-1])


def _no_record(version: Path, _: GpuHost) -> None:
    (version / "model.plan.json").unlink()


def _bad_record(version: Path, _: GpuHost) -> None:
    (version / "model.plan.json").write_text("{}")


def _asked_anew(version: Path, _: GpuHost) -> None:
    path = version / "engine.json"
    said = json.loads(path.read_text())
    said["options"]["tf32"] = False
    path.write_text(json.dumps(said))


def _other_graph(version: Path, _: GpuHost) -> None:
    with (version / "model.onnx").open("ab") as file:
        file.write(b"\0")


def _unreadable_request(version: Path, _: GpuHost) -> None:
    (version / "engine.json").write_text("{}")


def _nothing_there(version: Path, _: GpuHost) -> None:
    (version / "engine.json").unlink()
    (version / "model.plan").unlink()


def _other_gpu(_: Path, host: GpuHost) -> None:
    host.gpu("0, NVIDIA A10, 8.6, 23034, 560.35.05")


def _other_model(_: Path, host: GpuHost) -> None:
    host.gpu("0, NVIDIA GeForce RTX 4090, 8.9, 24564, 560.35.05")


def _plugin(path: str, sha256: str | None = None) -> Callable[[Path, GpuHost], None]:
    library = {"path": path, **({"sha256": sha256} if sha256 else {})}

    def ask(version: Path, _: GpuHost) -> None:
        file = version / "engine.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "plugins": [library]}))

    return ask


def _swapped(version: Path, _: GpuHost) -> None:
    """Another plan, of the same length."""
    plan = version / "model.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")


#: What is done to a repository with its engine, and the rule that finds it.
ROWS: list[tuple[str, Callable[[Path, GpuHost], None], tuple[str, str]]] = [
    ("an HTML page", _replaced(b"<!doctype html><html></html>"), ("error", "engine/plan")),
    ("an RTX engine", _replaced(b"vtrt" + bytes(20) + bytes([1, 7, 1, 116])), ("error", "engine/plan")),
    ("cut short", _cut, ("error", "engine/plan")),
    ("another file of that length", _swapped, ("error", "engine/plan")),
    ("nothing says what built it", _no_record, ("warning", "engine/provenance")),
    ("what says it is none", _bad_record, ("warning", "engine/provenance")),
    ("other options are asked for", _asked_anew, ("warning", "engine/stale")),
    ("the graph is another", _other_graph, ("warning", "engine/onnx")),
    ("the request is none", _unreadable_request, ("warning", "engine/request")),
    ("no plan, no request", _nothing_there, ("error", "engine/file")),
    ("another GPU is here", _other_gpu, ("error", "engine/gpu")),
    ("another model of GPU is here", _other_model, ("warning", "engine/gpu_model")),
    ("a plugin library is missing", _plugin("libmine.so", "0" * 64), ("error", "engine/plugins")),
    ("one elsewhere is missing", _plugin("/nowhere/libmine.so"), ("error", "engine/plugins")),
]


@pytest.mark.parametrize(("case", "spoil", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_a_rule_finds_it(
    case: str, spoil: Callable[[Path, GpuHost], None], expected: tuple[str, str], built: Path, gpu_host: GpuHost
) -> None:
    assert found(built) == []
    spoil(built / "times" / "1", gpu_host)
    assert expected in found(built), case


def test_a_plan_that_is_cut_short_is_called_so(built: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = built / "times" / "1" / "model.plan"
    size = plan.stat().st_size
    _cut(plan.parent, None)
    assert run(["check", str(built)]) == 1
    assert f"it is cut short: {size - 1} of {size} bytes" in capfd.readouterr().out


def test_a_pending_engine_is_a_warning_that_names_the_command(pending: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert found(pending) == [("warning", "engine/pending")]
    capfd.readouterr()
    assert run(["check", str(pending)]) == 0
    assert "triton-repo engines on a GPU host" in capfd.readouterr().out


def test_the_servers_tensorrt_decides(built: Path) -> None:
    assert found(built, (2, 51)) == []
    assert found(built, (2, 60)) == [("error", "engine/version")]
    assert found(built, (2, 72)) == [], "nothing is claimed of a release that is not in the table"
    (built / "times" / "1" / "model.plan.json").unlink()
    assert ("error", "engine/version") in found(built, (2, 60)), "the plan's own header says it, too"


def test_without_a_server_that_of_the_spec_decides(built: Path) -> None:
    plan = built / "times" / "1" / "model.plan"
    plan.write_bytes(plan.read_bytes().replace(bytes([10, 5, 0, 18]), bytes([10, 7, 0, 23])))
    plan.with_name("model.plan.json").unlink()
    assert found(built, ()) == [("error", "engine/version"), ("warning", "engine/provenance")]


def test_a_gpu_type_whose_file_is_missing(tmp_path: Path, gpu_host: GpuHost) -> None:
    spec = write_spec(tmp_path / "spec", target='{kind: tensorrt, compute_capabilities: ["8.6", "8.9"]}')
    assert run(["build", str(spec), "-o", str(tmp_path / "r")]) == 0
    assert found(tmp_path / "r") == [("warning", "engine/pending")] * 2
    config = tmp_path / "r" / "times" / "config.pbtxt"
    config.write_text(config.read_text().replace('"model_sm86.plan"', '"model_86.plan"'))
    world, _ = check.read(tmp_path / "r")
    errors = [finding for finding in check.check(world) if finding.level == "error"]
    assert [(finding.rule, finding.field) for finding in errors] == [("engine/file", "cc_model_filenames[8.6]")]


@pytest.fixture
def mixed(pending: Path) -> Path:
    """With a model beside it that can be loaded here, and an ensemble of what cannot."""
    write(pending, "good", identity(), "max_batch_size: 8\n" + tensors())
    folder = pending / "both"
    (folder / "1").mkdir(parents=True)
    io = 'input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 } max_batch_size: 8\n'
    step = '{ model_name: "times" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } }'
    (folder / "config.pbtxt").write_text(f'name: "both" platform: "ensemble" {io} ensemble_scheduling {{ step {step} }}\n')
    return pending


def test_what_cannot_be_loaded_here_is_left_out(mixed: Path, server: Callable[..., Server]) -> None:
    aside = loadable.of(mixed)
    assert aside.load == ("good",)
    assert aside.left_out["times"] == "engine model.plan still to be built: triton-repo engines on the GPU host"
    assert aside.left_out["both"] == f"its step times is left out: {aside.left_out['times']}"
    assert server(mixed, **aside.server_options()).models == ["good"]


def test_an_engine_that_is_there_needs_its_backend(built: Path) -> None:
    assert "this server has no tensorrt backend" in loadable.of(built).left_out["times"]


def test_everything_else_is_the_servers_to_say(tmp_path: Path) -> None:
    write(tmp_path, "good", identity(), "max_batch_size: 8\n" + tensors())
    assert loadable.of(tmp_path) == loadable.Loadable(("good",))
    assert loadable.of(tmp_path).server_options() == {}
    assert loadable.of(tmp_path / "none") == loadable.Loadable()


def test_serve_refuses_where_nothing_is_left(pending: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run(["serve", str(pending)]) == 1
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "nothing of it can be served here: times: engine model.plan still to be built" in err


def test_no_push_to_a_server_before_the_engine_is_built(
    pending: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]
) -> None:
    there = str(pending.parent / "there")
    capfd.readouterr()
    assert run(["push", str(pending), there, "--server", "127.0.0.1:1"]) == 1
    assert "times/1/model.plan: still to be built" in capfd.readouterr().err
    assert run(["push", str(pending), there]) == 0
    assert run(["engines", str(pending)]) == 0
    assert run(["push", str(pending), there]) == 0
    assert (pending.parent / "there" / "times" / "1" / "model.plan").is_file(), "an engine belongs to what is pushed"


def test_build_says_what_comes_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build", str(write_spec(tmp_path / "spec")), "-o", str(tmp_path / "r")]) == 0
    assert f"times/1/model.plan: triton-repo engines {tmp_path / 'r'}" in capfd.readouterr().out


def test_verify_climbs_up_to_the_graph_and_claims_no_more(pending: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = str(pending.parent / "spec" / "times.yaml")
    capfd.readouterr()
    assert run(["verify", spec, "-r", str(pending)]) == 0
    out = capfd.readouterr().out
    assert "not seen" in out
    assert "what is served equals" not in out
    assert out.strip().splitlines()[-2:] == [
        "verified up to the graph: times: it equals what was trained",
        "not seen: times was not served here: engine model.plan still to be built: triton-repo engines on the GPU host",
    ]
    assert run(["verify", spec, "-r", str(pending), "--json"]) == 0
    rungs = json.loads(capfd.readouterr().out)
    assert [(rung["name"], rung["ok"]) for rung in rungs][-2:] == [("after surgery", True), ("served", None)]


def test_verify_still_finds_a_graph_that_differs(pending: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = write_spec(tmp_path / "other", scale=5.0).with_name("times.onnx")
    shutil.copyfile(other, pending / "times" / "1" / "model.onnx")
    assert run(["verify", str(pending.parent / "spec" / "times.yaml"), "-r", str(pending)]) == 1
    assert "the first rung that diverges is 'after surgery'" in capfd.readouterr().err


def test_deploy_reserves_gpus_loads_plugins_and_builds_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = "{kind: tensorrt, version_compatible: true, plugin_libraries: [{server: /opt/own/libmine.so}]}"
    repository, deploy = tmp_path / "repository", tmp_path / "deploy"
    assert run(["build", str(write_spec(tmp_path / "spec", target=target)), "-o", str(repository)]) == 0
    assert run(["deploy", str(repository), "-o", str(deploy)]) == 0
    service = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]["triton"]
    assert service["environment"] == {"LD_PRELOAD": "/opt/own/libmine.so"}
    assert service["volumes"][1]["source"] == service["volumes"][1]["target"] == "/opt/own/libmine.so"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == "all"
    assert "--backend-config=tensorrt,version-compatible=true" in service["command"]
    readme = (deploy / "README.md").read_text()
    assert "    triton-repo engines ../repository\n\nand then\n\n    docker compose up" in readme
    assert "times/1/model.plan" in readme
    capfd.readouterr()
    assert run(["deploy", str(repository), "-o", str(deploy), "--image", "nvcr.io/nvidia/tritonserver:25.08-py3"]) == 0
    assert "the engines are for the server of 24.10" in capfd.readouterr().err
    assert run(["serve", str(repository), "--container", "print"]) == 0
    out = capfd.readouterr().out
    assert f"triton-repo engines {repository}" in out
    assert "--gpus=all --volume=/opt/own/libmine.so:/opt/own/libmine.so:ro --env=LD_PRELOAD=/opt/own/libmine.so" in out


def test_engines_of_onnxruntime_are_kept_in_a_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = "{kind: onnxruntime, accelerator: {kind: tensorrt, engine_cache: /var/engines}}"
    repository, deploy = tmp_path / "repository", tmp_path / "deploy"
    assert run(["build", str(write_spec(tmp_path / "spec", target=target)), "-o", str(repository)]) == 0
    assert run(["deploy", str(repository), "-o", str(deploy)]) == 0
    whole = yaml.safe_load((deploy / "compose.yaml").read_text())
    kept = {"type": "volume", "source": "triton-repo-engines", "target": "/var/engines"}
    assert kept in whole["services"]["triton"]["volumes"]
    assert whole["volumes"] == {"triton-repo-engines": {}}
    capfd.readouterr()
    assert run(["serve", str(repository), "--container", "print"]) == 0
    assert "--volume=triton-repo-engines:/var/engines" in capfd.readouterr().out


def test_a_repository_without_engines_needs_nothing(tmp_path: Path) -> None:
    write(tmp_path / "r", "good", identity(), "max_batch_size: 8\n" + tensors())
    assert run(["deploy", str(tmp_path / "r"), "-o", str(tmp_path / "deploy")]) == 0
    service = yaml.safe_load((tmp_path / "deploy" / "compose.yaml").read_text())["services"]["triton"]
    assert not {"environment", "deploy"} & set(service)
    assert len(service["volumes"]) == 1
    assert "engines" not in (tmp_path / "deploy" / "README.md").read_text()
