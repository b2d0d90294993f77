"""A GPU host that is not there: programs named nvidia-smi and docker that answer as the real ones do.

They stand for what no machine without a GPU has. The docker program takes the command line apart, refuses what `trtexec` would
refuse in it, and leaves a file with a plan's header: enough to prove everything around the building. The building itself is real
elsewhere: through TensorRT-RTX (tests/test_engines.py, and the tests of target tensorrt).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

GPU = "0, NVIDIA L4, 8.9, 23034, 560.35.05, GPU-11112222-0000"
_DOCKER = """#!{python}
import json, pathlib, sys, time
words = sys.argv[1:]
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
if words[0] != "run":
    sys.exit(0)
options = [word.partition("=") for word in words[1:] if word.startswith("--")]
mounts = {{}}
for name, _, value in options:
    if name == "--volume":
        outer, inner = value.split(":")[:2]
        mounts[inner] = pathlib.Path(outer)
said = {{name: value for name, _, value in options}}
assert (mounts["/in"] / pathlib.Path(said["--onnx"]).name).is_file(), said
target = mounts["/out"] / pathlib.Path(said["--saveEngine"]).name
how = (folder / "how").read_text() if (folder / "how").exists() else "well"
if how == "hangs":
    target.write_bytes(b"half")
    (folder / "hangs").touch()
    time.sleep(60)
if how == "fails":
    target.write_bytes(b"half")
    print("[11/21/2026-17:00:00] [I] Start parsing network model.")
    print("[11/21/2026-17:00:01] [E] Error[4]: ITensor::getDimensions: Error Code 4: too bad")
    sys.exit(1)
version = bytes({version})
target.write_bytes(b"ftrt" + bytes(4) + bytes(16) + version + target.name.encode() * 40)
print("&&&& PASSED TensorRT.trtexec")
"""


class GpuHost:
    """Programs on PATH, and what was asked of docker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def gpu(self, *rows: str) -> None:
        """What nvidia-smi answers: index, name, compute capability, MiB, driver, UUID."""
        self._program("nvidia-smi", "#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))

    def broken(self, said: str) -> None:
        """nvidia-smi ends with this message."""
        self._program("nvidia-smi", f"#!/bin/sh\necho '{said}'\nexit 9\n")

    def docker(self, version: tuple[int, ...] = (10, 5, 0, 18)) -> None:
        """A docker whose trtexec is of that version."""
        self._program("docker", _DOCKER.format(python=sys.executable, folder=str(self.folder), version=version))

    def behaves(self, how: str) -> None:
        """well, fails or hangs: the next containers."""
        (self.folder / "how").write_text(how)

    @property
    def runs(self) -> list[list[str]]:
        """The arguments of every `docker run` so far."""
        calls = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        return [words for words in map(json.loads, calls) if words[0] == "run"]

    def _program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def gpu_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuHost:
    """This machine, with an L4 and docker."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    host = GpuHost(folder)
    host.gpu(GPU)
    host.docker()
    return host


def write_spec(folder: Path, *, target: str = "{kind: tensorrt}", more: str = "", scale: float = 2.0) -> Path:
    """A spec named `times` of an ONNX model with a free batch: y = x * scale."""
    folder.mkdir(parents=True, exist_ok=True)
    constant = helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"], name="times")], "times",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])], [constant],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "times.onnx")
    path = folder / "times.yaml"
    path.write_text(f"name: times\ncheckpoint: {{kind: onnx, file: times.onnx}}\ntarget: {target}\n{more}")
    return path
