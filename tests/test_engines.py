"""`triton-repo engines`: what is pending gets built, once, whole, and says what built it; what cannot be built says why.

Where a GPU is needed, nvidia-smi and docker are programs of tests/gpu_host.py that answer in their place: nothing else
can stand for a GPU here. The building itself is real in one test, through
TensorRT-RTX, whose engine Triton's backend must not get.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gpu_host import GPU, GpuHost, gpu_host, write_spec

from generator import (
    engine_builders,
    engine_child,
    engine_trtexec,
    engines,
    lock,
    machine,
    plan_file,
    provenance,
    server_tensorrt,
)
from generator.cli import run
from generator.engine_request import Engine, EngineOptions, EngineRequest, PluginLibrary, Range
from generator.errors import RepositoryError, ToolError
from generator.machine import Gpu, Machine

__all__ = ["gpu_host"]
L4 = Machine((Gpu(0, "NVIDIA L4", "8.9", 23034),), "560.35.05")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one engine pending."""
    assert run(["build", str(write_spec(tmp_path / "spec")), "-o", str(tmp_path / "repository")]) == 0
    return tmp_path / "repository"


def files(repository: Path) -> set[str]:
    return {path.name for path in (repository / "times" / "1").iterdir()}


def rebuild(repository: Path, **said: Any) -> int:
    return run(["build", str(write_spec(repository.parent / "spec", **said)), "-o", str(repository)])


PENDING = {"engine.json", "model.onnx"}
BUILT = PENDING | {"model.plan", "model.plan.json"}


def test_without_a_gpu_it_ends_in_one_sentence(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "_KERNEL", tmp_path / "none")
    capfd.readouterr()
    assert run(["engines", str(repository)]) == 1
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("error: this machine has no NVIDIA GPU")
    assert "run it on the GPU host" in err
    assert files(repository) == PENDING


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch", "restart the machine"),
        ("No devices were found", "--gpus=all"),
        ('Field "compute_cap" is not a valid field to query.', "update the NVIDIA driver"),
    ],
)
def test_what_nvidia_smi_says_is_passed_on(said: str, expected: str, gpu_host: GpuHost) -> None:
    gpu_host.broken(said)
    with pytest.raises(ToolError) as caught:
        machine.here()
    assert said in caught.value.message
    assert expected in caught.value.remedy


def test_a_driver_without_nvidia_smi_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "version"
    kernel.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    monkeypatch.setattr(machine, "_KERNEL", kernel)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "driver 550.54.15 is loaded" in machine.look().why


def test_gpus_are_read(gpu_host: GpuHost) -> None:
    gpu_host.gpu(GPU, "1, NVIDIA GH200 480GB, 9.0, [N/A], 560.35.05")
    found = machine.here()
    assert found.gpus == (L4.gpus[0], Gpu(1, "NVIDIA GH200 480GB", "9.0", 0))
    assert (found.driver, found.capabilities) == ("560.35.05", ("8.9", "9.0"))
    assert found.gpu("9.0") == found.gpus[1]
    assert found.gpu("8.0") is None


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("1", [1]), ("1,0", [1, 0]), ("GPU-3333", [1]), ("0, GPU-3333", [0, 1]),
        ("7", []), ("", []), ("1,7,0", [1]), ("GPU-", []),
    ],
)  # fmt: skip
def test_only_gpus_that_programs_may_see_count(
    gpu_host: GpuHost, monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[int]
) -> None:
    gpu_host.gpu(GPU, "1, NVIDIA GH200 480GB, 9.0, [N/A], 560.35.05, GPU-33334444-0000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = machine.look()
    assert [gpu.index for gpu in found.gpus] == seen
    assert bool(seen) != ("hides every GPU" in found.why)


@pytest.mark.parametrize(
    ("driver", "cuda", "old"),
    [("560.35.05", 12, False), ("560.35.05", 13, True), ("580.65", 13, False), ("470.1", 12, True), ("", 12, False)],
)
def test_a_driver_can_be_too_old(driver: str, cuda: int, old: bool) -> None:
    problem = machine.too_old(driver, cuda)
    assert (problem is not None) == old
    assert problem is None or "docs.nvidia.com" in problem[1]


def test_the_container_builds_once_and_says_what_built_it(
    repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["engines", str(repository)]) == 0
    assert files(repository) == BUILT
    made = provenance.read(repository / "times" / "1" / "model.plan")
    assert made is not None
    assert (made.tensorrt, made.compute_capability, made.gpu, made.driver) == ("10.5.0.18", "8.9", "NVIDIA L4", "560.35.05")
    assert made.request == EngineRequest.read(repository / "times" / "1").digest()
    assert (made.built_by, made.size) == ("nvcr.io/nvidia/tensorrt:24.10-py3", (repository / "times/1/model.plan").stat().st_size)
    assert made.profiles[0]["x"].max == (8, 4)
    capfd.readouterr()
    assert run(["engines", str(repository)]) == 0
    assert "1 engine is up to date" in capfd.readouterr().out
    assert len(gpu_host.runs) == 1
    gpu_host.broken("No devices were found")
    assert run(["engines", str(repository)]) == 0, "what is there needs no GPU"
    gpu_host.gpu(GPU)
    assert run(["engines", str(repository), "--force"]) == 0
    assert len(gpu_host.runs) == 2
    assert not [path for path in repository.parent.iterdir() if "staging" in path.name]


def test_the_command_line_is_what_the_request_says(repository: Path, gpu_host: GpuHost) -> None:
    assert run(["engines", str(repository)]) == 0
    (words,) = gpu_host.runs
    at = words.index("nvcr.io/nvidia/tensorrt:24.10-py3")
    assert words[at + 1 : at + 5] == ["trtexec", "--onnx=/in/model.onnx", "--saveEngine=/out/model.plan", "--stronglyTyped"]
    assert {"--profile=0", "--minShapes=x:1x4", "--maxShapes=x:8x4", "--skipInference"} <= set(words[at:])
    assert {"--gpus=device=0", f"--user={os.getuid()}:{os.getgid()}"} <= set(words[:at])
    assert f"--volume={(repository / 'times' / '1').resolve()}:/in:ro" in words


def everything(tmp_path: Path, **options: Any) -> engines.Wanted:
    """A request that makes use of every option."""
    said = EngineOptions.model_validate({
        "workspace": 512, "builder_optimization_level": 5, "version_compatible": True, "hardware_compatibility": "ampere_plus",
        "weight_streaming": True, "strip_plan": True, "tf32": False, "profiling_verbosity": "detailed",
        "tactic_sources": ["jit_convolutions"], **options,
    })  # fmt: skip
    profiles = tuple(
        {"x": Range(min=(1, 3), opt=(size, 3), max=(8, 3)), "n": Range(min=(1,), opt=(2,), max=(9,), values=True)}
        for size in (1, 8)
    )
    plugins = (PluginLibrary(path="libmine.so", sha256="0" * 64), PluginLibrary(path="/opt/own/libtheirs.so"))
    engine = Engine(filename="model_sm89.plan", compute_capability="8.9", stripped="model_sm89.stripped.plan")
    request = EngineRequest(
        onnx="model.onnx",
        files={"model.onnx": 64 * "0"},
        max_batch_size=8,
        profiles=profiles,
        options=said,
        plugins=plugins,
        engines=(engine,),
    )
    return engines.Wanted("m", tmp_path / "m" / "1", request, engine)


def test_every_option_is_documented(tmp_path: Path) -> None:
    """Each option that any request leads to stands in the help text of trtexec, at the line that is named."""
    wanted = [everything(tmp_path), everything(tmp_path, timing_cache=False)]
    lines = [line for item in wanted for line in engine_trtexec.commands(item, L4.gpus[0], tmp_path, tmp_path)]
    split = [(line, line.index("nvcr.io/nvidia/tensorrt:24.10-py3")) for line in lines]
    docker = {word.partition("=")[0] for line, at in split for word in line[2:at]}
    trtexec = {word.partition("=")[0] for line, at in split for word in line[at + 2 :]}
    assert docker == set(engine_trtexec.DOCKER_OPTIONS)
    assert trtexec <= set(engine_trtexec.documented())
    assert trtexec == {
        "--onnx", "--saveEngine", "--skipInference", "--stronglyTyped", "--profile", "--minShapes", "--optShapes", "--maxShapes",
        "--memPoolSize", "--builderOptimizationLevel", "--versionCompatible", "--hardwareCompatibilityLevel", "--noTF32",
        "--allowWeightStreaming", "--stripWeights", "--timingCacheFile", "--noBuilderCache", "--profilingVerbosity",
        "--tacticSources", "--staticPlugins",
    }  # fmt: skip
    document = re.compile(r"https://github\.com/NVIDIA/TensorRT/blob/release/11\.\d/samples/common/sampleOptions\.cpp#L\d+")
    assert all(document.fullmatch(url)
               for name, url in engine_trtexec.documented().items() if name in trtexec)  # fmt: skip


def test_all_options_at_once(tmp_path: Path) -> None:
    first, second = engine_trtexec.commands(everything(tmp_path), L4.gpus[0], tmp_path, tmp_path / "cache")
    assert {"--minShapes=x:1x3,n:1", "--optShapes=x:8x3,n:2", "--profile=1", "--hardwareCompatibilityLevel=ampere+"} <= set(first)
    assert "--tacticSources=-CUBLAS,-CUBLAS_LT,-CUDNN,-EDGE_MASK_CONVOLUTIONS,+JIT_CONVOLUTIONS" in first
    assert {"--staticPlugins=/in/libmine.so", "--staticPlugins=/plugins/opt/own/libtheirs.so"} <= set(first)
    assert "--volume=/opt/own/libtheirs.so:/plugins/opt/own/libtheirs.so:ro" in first
    assert "--timingCacheFile=/cache/trtexec-24.10-8.9.timing" in first
    assert "--stripWeights" not in first
    assert {"--stripWeights", "--saveEngine=/out/model_sm89.stripped.plan"} <= set(second)


def test_what_a_release_cannot_is_said(tmp_path: Path) -> None:
    item = everything(tmp_path, hardware_compatibility="same_compute_capability", tactic_sources=["cudnn"])
    for server, expected in (
        ((2, 40), "has no TensorRT 10"),
        ((2, 51), "no hardware compatibility level"),
        ((2, 72), "no tactic source cudnn"),
    ):
        with pytest.raises(ToolError, match=expected):
            engine_trtexec.commands(replace(item, server=server), L4.gpus[0], tmp_path, tmp_path)


def test_the_server_decides_the_container(tmp_path: Path, gpu_host: GpuHost) -> None:
    spec = write_spec(tmp_path / "spec", more="serving: {server: 24.09}\n")
    assert run(["build", str(spec), "-o", str(tmp_path / "repository")]) == 0
    gpu_host.docker((10, 4, 0, 26))
    assert run(["engines", str(tmp_path / "repository")]) == 0
    assert "nvcr.io/nvidia/tensorrt:24.09-py3" in gpu_host.runs[0]
    assert (server_tensorrt.tensorrt((2, 50)), server_tensorrt.cuda((2, 50))) == ("10.4", 12)
    assert (server_tensorrt.tensorrt((2, 72)), server_tensorrt.cuda((2, 72))) == ("", 13)


def test_a_dry_run_needs_no_gpu(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run(["engines", str(repository), "--dry-run"]) == 0
    first, second = capfd.readouterr().out.splitlines()
    assert first.startswith("# times/1/model.plan: not built yet; for the GPU that builds it")
    assert second.startswith("docker run --rm --init ")
    assert files(repository) == PENDING


def test_a_dry_run_with_the_package_prints_no_containers(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run(["engines", str(repository), "--dry-run", "--with", "package"]) == 0
    said = capfd.readouterr().out
    assert "by the Python package tensorrt" in said
    assert "docker" not in said


def test_a_folder_that_holds_no_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    assert run(["engines", str(tmp_path)]) == 1
    assert f"error: {tmp_path}: holds no model folder; name the folder that holds" in capfd.readouterr().err


def test_engines_outlive_a_build_of_the_same_graph(
    repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["engines", str(repository)]) == 0
    capfd.readouterr()
    assert rebuild(repository) == 0
    assert "nothing to do" in capfd.readouterr().out
    assert rebuild(repository, more="serving: {dynamic_batching: {max_queue_delay_us: 100}}\n") == 0
    assert files(repository) == BUILT
    assert "times/1/model.plan" in lock.read(repository)["times"].files
    capfd.readouterr()
    assert run(["engines", str(repository)]) == 0
    assert "1 engine is up to date" in capfd.readouterr().out
    for said in ({"scale": 3.0}, {"target": "{kind: tensorrt, tf32: false}"}, {"more": "serving: {server: 24.09}\n"}):
        assert rebuild(repository) == 0
        assert run(["engines", str(repository)]) == 0
        assert rebuild(repository, **said) == 0
        assert files(repository) == PENDING, said


def test_each_gpu_type_is_built_where_it_is(tmp_path: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path / "spec", target='{kind: tensorrt, compute_capabilities: ["8.6", "8.9"]}')
    repository = tmp_path / "repository"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    assert run(["engines", str(repository)]) == 0
    out = capfd.readouterr().out
    assert "times/1/model_sm86.plan: still to be built on a machine with compute capability 8.6; here is NVIDIA L4" in out
    assert {"model_sm89.plan", "model_sm89.plan.json"} <= files(repository)
    assert "model_sm86.plan" not in files(repository)
    assert run(["engines", str(repository)]) == 0
    assert "nothing to do here" in capfd.readouterr().out
    gpu_host.gpu("0, NVIDIA A100, 8.0, 81920, 560.35.05")
    assert run(["engines", str(repository)]) == 1
    assert "are for compute capability 8.6; here is NVIDIA A100" in capfd.readouterr().err
    gpu_host.gpu(GPU, "3, NVIDIA A10, 8.6, 23034, 560.35.05")
    assert run(["engines", str(repository)]) == 0
    assert "--gpus=device=3" in gpu_host.runs[-1]
    assert {"model_sm86.plan", "model_sm86.plan.json"} <= files(repository)


def test_what_trtexec_says_is_passed_on_and_nothing_is_left(
    repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]
) -> None:
    gpu_host.behaves("fails")
    assert run(["engines", str(repository)]) == 1
    err = capfd.readouterr().err
    assert "times/1/model.plan: the container did not build it" in err
    assert "ITensor::getDimensions: Error Code 4: too bad" in err
    assert files(repository) == PENDING
    assert not [path for path in repository.parent.iterdir() if "staging" in path.name]
    gpu_host.gpu("0, NVIDIA L4, 8.9, 23034, 470.10")
    assert run(["engines", str(repository)]) == 1
    assert "the driver 470.10 is too old for CUDA 12, which needs 525 or newer" in capfd.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_container_and_leaves_nothing(how: signal.Signals, repository: Path, gpu_host: GpuHost) -> None:
    gpu_host.behaves("hangs")
    code = "import sys; from generator.cli import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "engines", str(repository)], start_new_session=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (gpu_host.folder / "hangs").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, how)  # not to the container's client: it must be told
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert json.loads((gpu_host.folder / "calls").read_text().splitlines()[-1])[0] == "kill"
    assert files(repository) == PENDING
    assert not [path for path in repository.parent.iterdir() if "staging" in path.name]


def test_sources_that_were_changed_are_refused(repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]) -> None:
    with (repository / "times" / "1" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert run(["engines", str(repository)]) == 1
    assert "triton-repo build" in capfd.readouterr().err
    assert gpu_host.runs == []


def test_a_plugin_library_that_is_not_here(tmp_path: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path / "spec", target="{kind: tensorrt, plugin_libraries: [{server: /nowhere/libmine.so}]}")
    assert run(["build", str(spec), "-o", str(tmp_path / "repository")]) == 0
    assert run(["engines", str(tmp_path / "repository")]) == 1
    assert "times/1/model.plan: no plugin library /nowhere/libmine.so on this machine" in capfd.readouterr().err
    assert gpu_host.runs == []


def test_a_plan_that_the_server_would_refuse_is_not_put_there(
    repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of another version that slipped through: here its plan is what the container left."""
    gpu_host.docker((10, 13, 3, 9))
    monkeypatch.setattr(server_tensorrt, "image", lambda _: "tensorrt-of-my-own:1")
    assert run(["engines", str(repository)]) == 1
    assert "built by TensorRT 10.13.3.9, which loads in that version only; the server has 10.5" in capfd.readouterr().err
    assert files(repository) == PENDING


def test_no_tensorrt_names_both_ways(
    repository: Path, tmp_path: Path, gpu_host: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    for way in (None, "package"):
        with pytest.raises(ToolError) as caught:
            engine_builders.choose(way)
        assert "pip install" in caught.value.remedy
        assert "--with container" in caught.value.remedy


def test_the_package_must_be_of_the_servers_version(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = engines.wanted(repository)
    builder = engine_builders.Package()
    monkeypatch.setattr(engine_builders, "_installed", lambda: ("10.13.3.9", 12))
    with pytest.raises(
        ToolError, match=r"TensorRT 10.13.3.9 is installed here, whose plans the server's 10.5 \(24.10\) does not load"
    ):
        builder.check(item, L4)
    monkeypatch.setattr(engine_builders, "_installed", lambda: ("10.5.0", 13))
    with pytest.raises(ToolError, match=r"driver 560[.]35[.]05 is too old for CUDA 13, which needs 580"):
        builder.check(item, L4)
    monkeypatch.setattr(engine_builders, "_installed", lambda: ("10.5.0", 12))
    builder.check(item, L4)


def test_the_building_code_runs_for_real_and_triton_does_not_get_what_it_makes(repository: Path, tmp_path: Path) -> None:
    """TensorRT-RTX compiles without a GPU, through the same code; its engine has a provenance, and is refused."""
    (item,) = engines.wanted(repository)
    into, heard = tmp_path / "into", list[str]()
    into.mkdir()
    builder = engine_builders.Package(engine_child.rtx())
    with pytest.raises(
        RepositoryError, match=r"an engine of TensorRT-RTX 1[.]7[.]1[.]116, which Triton's tensorrt backend does not load"
    ):
        engine_builders.build(item, builder, L4, into, heard.append)
    made = provenance.read(into / "model.plan")
    assert made is not None
    assert (made.tensorrt, made.compute_capability, made.built_by) == ("1.7.1.116", "8.9", "package tensorrt_rtx_bindings")
    assert made.request == item.request.digest()
    assert made.size > 1000
    assert heard, "progress is told"
    assert files(repository) == PENDING


AMPERE = EngineOptions(hardware_compatibility="ampere_plus")


def test_the_whole_command_with_the_real_building_code(
    repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx = engine_builders.Package(engine_child.rtx())
    monkeypatch.setattr(engine_builders, "choose", lambda _: rtx)
    assert run(["engines", str(repository)]) == 1
    assert "error: times/1/model.plan: an engine of TensorRT-RTX 1.7.1.116, which Triton's" in capfd.readouterr().err
    assert files(repository) == PENDING
    assert not [path for path in repository.parent.iterdir() if "staging" in path.name]


PROVENANCE = [
    ("the same", {}, L4, "10.5", "", []),
    ("another TensorRT", {}, L4, "10.13", "", ["version"]),
    ("another major version", {"options": EngineOptions(version_compatible=True)}, L4, "11.1", "", ["version"]),
    ("newer, and compatible", {"options": EngineOptions(version_compatible=True)}, L4, "10.13", "", []),
    ("older, and compatible", {"options": EngineOptions(version_compatible=True)}, L4, "10.4", "", ["version"]),
    ("exactly, another build", {}, L4, "10.5.0.19", "", ["version"]),
    ("of the server's own release", {"built_by": "nvcr.io/nvidia/tensorrt:25.08-py3"}, L4, "10.13", "25.08", []),
    ("another GPU type", {"compute_capability": "8.6", "gpu": "NVIDIA A10"}, L4, "10.5", "", ["gpu"]),
    ("for Ampere and newer", {"compute_capability": "8.0", "options": AMPERE}, L4, "", "", []),
    ("not judged without a GPU", {"compute_capability": "8.6"}, Machine(), "", "", []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "changes", "here", "server", "release", "expected"), PROVENANCE, ids=[row[0] for row in PROVENANCE]
)
def test_what_does_not_fit_is_told(
    case: str,
    changes: dict[str, Any],
    here: Machine,
    server: str,
    release: str,
    expected: list[str],
    repository: Path,
    gpu_host: GpuHost,
) -> None:
    assert run(["engines", str(repository)]) == 0
    made = provenance.read(repository / "times" / "1" / "model.plan")
    assert made is not None
    found = provenance.misfits(made.model_copy(update=changes), here, server, release)
    assert [misfit.kind for misfit in found] == expected, case
    assert all(misfit.remedy for misfit in found)


HEADERS = [
    (b"", "not a TensorRT plan; it looks like an empty file"),
    (b"ftrx" + bytes(90), "not a TensorRT plan: it begins with 66 74 72 78, not 66 74 72 74"),
    (b"ftrt" + bytes(10), "a TensorRT plan of 14 bytes, cut short"),
    (b"ftrt\1\0\0\0" + bytes(20), "a TensorRT plan of layout 1"),
    (b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]), "an engine of TensorRT-RTX 1.7.1.116"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "it looks like an HTML page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "it looks like a Git LFS pointer"),
    (b"\x7fELF" + bytes(60), "it looks like a program or a shared library"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), HEADERS, ids=[row[1] for row in HEADERS])
def test_what_is_no_plan_is_told(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(content)
    with pytest.raises(RepositoryError, match=re.escape(expected)):
        plan_file.read(path)


def test_an_onnx_file_is_no_plan(repository: Path) -> None:
    with pytest.raises(RepositoryError, match="it looks like an ONNX model"):
        plan_file.read(repository / "times" / "1" / "model.onnx")


def test_a_plan_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(b"ftrt" + bytes(20) + bytes([10, 13, 3, 9]) + b"rest")
    assert plan_file.read(path) == plan_file.Plan("10.13.3.9", 32)


def test_models_can_be_named(repository: Path, gpu_host: GpuHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["engines", str(repository), "--model", "other"]) == 1
    assert "other asks for no engine; those that do: times" in capfd.readouterr().err
    assert run(["engines", str(repository), "--model", "times"]) == 0


def test_a_request_that_cannot_be_read_is_named(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = repository / "times" / "1" / "engine.json"
    path.write_text(path.read_text().replace('"max_batch_size"', '"max_batch"'))
    assert run(["engines", str(repository)]) == 1
    assert f"{path}: max_batch_size: Field required" in capfd.readouterr().err
