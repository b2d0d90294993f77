"""`triton-repo deploy`: the files are right as far as that can be seen without a container, and nobody's files are lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_models import identity, tensors, write

from generator import deploy, shm
from generator.cli import run
from generator.errors import ToolError
from generator.pbtxt import parse

ROOT = Path(__file__).resolve().parent.parent
DECODER = """
name: "decoder" backend: "python" max_batch_size: 4
input [ { name: "bytes" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "image" data_type: TYPE_UINT8 dims: [ 512, 1024, 4 ] } ]
instance_group [ { kind: KIND_CPU count: 2 }, { kind: KIND_CPU } ]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = write(tmp_path / "repository", "good", identity(), "max_batch_size: 8\n" + tensors())
    (folder / "decoder" / "1").mkdir(parents=True)
    (folder / "decoder" / "config.pbtxt").write_text(DECODER)
    return folder


def compose(folder: Path) -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["triton"]
    return service


def test_the_four_files(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    assert run(["deploy", str(repository), "-o", str(target), "--grpc-port", "9001"]) == 0
    said = capsys.readouterr().out
    assert "the image was not built and the container was not run here" in said
    assert said.count("create") == 4
    dockerfile = (target / "Dockerfile").read_text()
    assert "\nFROM nvcr.io/nvidia/tritonserver:24.10-py3\n" in dockerfile
    service = compose(target)
    assert service["ports"] == ["127.0.0.1:8000:8000", "127.0.0.1:9001:8001", "127.0.0.1:8002:8002"]
    (mount,) = service["volumes"]
    assert mount["read_only"] is True
    assert (target / mount["source"]).resolve() == repository
    assert "/v2/health/ready" in service["healthcheck"]["test"][-1]
    assert "deploy" not in service
    assert "good" in (target / "README.md").read_text()


def test_the_image_installs_what_the_server_here_has(repository: Path, tmp_path: Path) -> None:
    assert run(["deploy", str(repository), "-o", str(tmp_path / "out")]) == 0
    first, rest = (tmp_path / "out" / "requirements.txt").read_text().split("\n", 1)
    assert deploy.MARKER in first
    assert rest == (ROOT / "templates" / "server" / "requirements.txt").read_text()


def test_options(repository: Path, tmp_path: Path) -> None:
    line = ["deploy", str(repository), "-o", str(tmp_path / "out"), "--image", "my/image:1", "--tag", "mine:2", "--gpus", "all"]
    assert run(line) == 0
    assert "FROM my/image:1" in (tmp_path / "out" / "Dockerfile").read_text()
    service = compose(tmp_path / "out")
    assert service["image"] == "mine:2"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == "all"


def test_shared_memory_follows_the_configs(repository: Path, tmp_path: Path) -> None:
    (need,) = shm.needs(shm.configs(repository))
    item = shm.ELEMENT + 512 * 1024 * 4
    assert (need.model, need.instances, need.batch, need.item) == ("decoder", 3, 4, item)
    assert need.bytes == 3 * (shm.BASE + 4 * item * 2)  # 3 x (8 + 4 x 6 x 2) MiB = 168 MiB
    assert shm.size_mib([need]) == 256  # 64 + 168, rounded up to a multiple of 64
    assert run(["deploy", str(repository), "-o", str(tmp_path / "out")]) == 0
    assert compose(tmp_path / "out")["shm_size"] == "256m"
    assert "decoder: 3 x (8 MiB + 4 x 6.0 MiB an item x 2) = 168 MiB" in (tmp_path / "out" / "compose.yaml").read_text()


def test_free_dimensions_are_assumed() -> None:
    text = 'name: "m" backend: "python" input [{ name: "x" data_type: TYPE_FP16 dims: [ -1, 3 ] }]'
    (need,) = shm.needs([parse(text + ' output [{ name: "y" data_type: TYPE_STRING dims: [ -1 ] }]')])
    assert need.item == shm.FREE * 3 * 2 + shm.LABEL  # text that goes out is a label, what comes in may be a photo
    assert (need.instances, need.batch) == (1, 1)


def test_a_second_time_says_identical(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["deploy", str(repository), "-o", str(tmp_path / "out")]
    assert run(line) == 0
    capsys.readouterr()
    assert run([*line, "--http-port", "9000"]) == 0
    said = capsys.readouterr().out.split()
    assert (said.count("identical"), said.count("update")) == (2, 2)


def test_somebodys_file_is_not_overwritten(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "compose.yaml").write_text("services: {}\n")
    assert run(["deploy", str(repository), "-o", str(target)]) == 1
    assert f"error: {target / 'compose.yaml'} was not written by triton-repo deploy" in capsys.readouterr().err
    assert [path.name for path in target.iterdir()] == ["compose.yaml"], "nothing half-written"
    assert (target / "compose.yaml").read_text() == "services: {}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "some"], "neither a count of GPUs nor 'all'"),
        (["--image", "two words"], "'two words' is not the name of an image"),
        (["--tag", "x\nRUN evil"], "is not the name of an image"),
        (["--http-port", "0"], "--http-port"),
    ],
)
def test_bad_options(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["deploy", str(repository), "-o", str(tmp_path / "out"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_deploy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "holds no model" in capsys.readouterr().err


def test_a_file_in_the_way_of_the_folder(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert run(["deploy", str(repository), "-o", str(tmp_path / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN true\n", "does not begin with FROM"),
        ("FROM x\nINSTALL y\n", "no instruction: INSTALL y"),
        ("FROM x\nCOPY secrets.txt /\n", "copies what is not there"),
    ],
)
def test_the_dockerfile_is_checked(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        deploy.check_dockerfile(text, {"requirements.txt"})


def test_compose_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="does not load"):
        deploy.check_compose("services: [", tmp_path)
    with pytest.raises(ToolError, match="does not load"):
        deploy.check_compose("services: {}", tmp_path)
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\n[ "$2" = version ] && exit 0\necho "bad key" >&2; exit 15\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match=r"docker compose refuses compose\.yaml: bad key"):
        deploy.check_compose("services: {triton: {build: ., ports: ['1:1']}}", tmp_path)
