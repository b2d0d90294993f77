"""Models of more than 2 GB, end to end: how much memory each stage holds at once, every process counted.

`python benchmarks/large_model.py --gib 3.2` makes two checkpoints of that size in a folder of its own: a PyTorch state dict with
its factory, and an ONNX file whose weights lie in two files, one in a sub-folder. Both go through build (export, surgery that
rewrites every weight, repository), check, onnx, diff, and verify, which serves them on a real server and compares the answers.
Meanwhile the processes that triton-repo started are looked at ten times a second: `Pss` of /proc/PID/smaps_rollup, in which a
page that several of them share counts once. It prints the largest sum of each stage, as a multiple of the weights.

Needs as much free disk as six times the weights, beside what the server environment takes; all of it is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WIDTH = 4096
#: Samples a second.
RATE = 10

NET = f'''\
"""A stack of linear layers; each is scaled by channel, which surgery works into the weights."""

import torch


class Net(torch.nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear({WIDTH}, {WIDTH}) for _ in range(layers))
        self.register_buffer("scale", torch.linspace(0.5, 1.5, {WIDTH}))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x) * self.scale)
        return x


def make(layers: int) -> torch.nn.Module:
    return Net(layers)
'''

TORCH = f"""\
name: large_torch
checkpoint:
  kind: state_dict
  weights: net.pt
  factory: net.py:make
  arguments: {{layers: LAYERS}}
  inputs: {{x: [batch, {WIDTH}]}}
  outputs: [y]
surgery:
  - {{kind: fuse_affine}}
  - {{kind: rename, names: {{y: answer}}}}
"""

ONNX = """\
name: large_onnx
checkpoint: {kind: onnx, file: net.onnx}
surgery:
  - {kind: fuse_affine}
  - {kind: rename, names: {y: answer}}
"""


@dataclass
class Peak:
    """The most that was held at once, in bytes, and how much of it was not a file's."""

    held: int = 0
    anonymous: int = 0
    processes: int = 0


@dataclass
class Watch:
    """Looks at this process's descendants, and keeps the peak of each stage."""

    verb: str = ""
    peaks: dict[str, Peak] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look until the block ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._look, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _look(self, ended: threading.Event) -> None:
        before = time.monotonic()
        while not ended.wait(1 / RATE):
            elapsed, before = time.monotonic() - before, time.monotonic()
            if not self.verb:
                continue
            found = descendants(os.getpid())
            step = next((s for pid in found if (s := step_of(pid))), "")
            stage = f"{self.verb}: {step}" if step else self.verb
            sizes = [pss(pid) for pid in found]
            peak = self.peaks.setdefault(stage, Peak())
            self.seconds[stage] = self.seconds.get(stage, 0.0) + elapsed
            if sum(size for size, _ in sizes) > peak.held:
                self.peaks[stage] = Peak(sum(s for s, _ in sizes), sum(a for _, a in sizes), len(found))


def descendants(root: int) -> list[int]:
    """Process ids below `root`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, last = [root], [root]
    while last:
        last = [pid for pid, parent in parents.items() if parent in last]
        found += last
    return found[1:]


def step_of(pid: int) -> str:
    """The step that a worker process does; "" for any other process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"generator.worker" in words:
            return str(json.loads(Path(os.fsdecode(words[3])).read_text())["step"])
    except (OSError, ValueError, KeyError, IndexError):
        pass
    return ""


def pss(pid: int) -> tuple[int, int]:
    """Bytes that a process holds, shared pages in part, and how many of them belong to no file."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    said = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return said.get("Pss", 0), said.get("Pss_Anon", 0)


def make(folder: Path, gib: float) -> int:
    """Both checkpoints, by a process of their own; bytes of the weights."""
    layers = -int(-gib * 2**30 // (WIDTH * WIDTH * 4))
    (folder / "net.py").write_text(NET)
    (folder / "torch.yaml").write_text(TORCH.replace("LAYERS", str(layers)))
    (folder / "onnx.yaml").write_text(ONNX)
    code = (
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT / 'benchmarks')!r}]; import large_model as m; m.write({layers})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return (folder / "net.pt").stat().st_size


def write(layers: int) -> None:
    """In the folder: net.pt, and net.onnx with its weights in `first.bin` and `more/second.bin`."""
    import net  # type: ignore[import-not-found]
    import torch

    torch.manual_seed(0)
    state = net.make(layers).state_dict()
    torch.save(state, "net.pt")
    Path("more").mkdir()
    write_onnx(layers, {name: tensor.numpy() for name, tensor in state.items()})


def write_onnx(layers: int, state: dict[str, object]) -> None:
    """The same network by hand, tensor after tensor."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, inits, value = [], [numpy_helper.from_array(np.asarray(state["scale"]), "scale")], "x"
    with Path("first.bin").open("wb") as first, Path("more/second.bin").open("wb") as second:
        for i in range(layers):
            weight = np.asarray(state[f"layers.{i}.weight"])
            file, name = (first, "first.bin") if i < layers // 2 else (second, "more/second.bin")
            outer = TensorProto(name=f"w{i}", data_type=1, dims=weight.shape, data_location=TensorProto.EXTERNAL)
            for key, said in (("location", name), ("offset", file.tell()), ("length", weight.nbytes)):
                outer.external_data.add(key=key, value=str(said))
            file.write(weight.tobytes())
            inits += [outer, numpy_helper.from_array(np.asarray(state[f"layers.{i}.bias"]), f"b{i}")]
            after = "y" if i == layers - 1 else f"x{i}"
            nodes += [
                helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"g{i}"], name=f"linear{i}", transB=1),
                helper.make_node("Mul", [f"g{i}", "scale"], [f"s{i}"], name=f"scale{i}"),
                helper.make_node("Tanh", [f"s{i}"], [f"t{i}"], name=f"tanh{i}"),
                helper.make_node("Add", [value, f"t{i}"], [after], name=f"add{i}"),
            ]
            value = after
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], inits)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "net.onnx")


def command(watch: Watch, folder: Path, model: str, *words: str, code: int = 0) -> None:
    """One call of triton-repo for a model, watched."""
    watch.verb = f"{model} {words[0]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_REPO_CACHE": str(folder / "cache")}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "generator.cli", *words], cwd=folder, env=environment, check=False)
    watch.verb = ""
    print(f"  {' '.join(words)}: {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode != code:
        raise SystemExit(f"triton-repo {' '.join(words)} ended with {done.returncode}")


def run(folder: Path, watch: Watch, weights: int) -> None:
    """Both models through everything; the table after each."""
    for name in ("torch", "onnx"):
        command(watch, folder, name, "build", f"{name}.yaml", "-o", name)
        command(watch, folder, name, "check", name)
        command(watch, folder, name, "verify", f"{name}.yaml", "-r", name)
        command(watch, folder, name, "onnx", f"{name}.yaml", "-o", f"final_{name}.onnx")
        if name == "onnx":
            command(watch, folder, name, "diff", "net.onnx", "final_onnx.onnx", code=2)
        report(watch, weights)
        for left in (folder / name, folder / "cache" / "steps"):
            shutil.rmtree(left)
        for file in folder.glob("final_*"):
            file.unlink()


def report(watch: Watch, weights: int) -> None:
    """A line a stage."""
    print(f"\nweights: {weights / 2**30:.2f} GiB; most that was held at once, all processes together, and as a multiple of that")
    print(f"{'stage':28}{'seconds':>9}{'GiB':>8}{'times':>8}{'times, no file`s':>19}{'processes':>11}")
    for stage, peak in watch.peaks.items():
        times, own = peak.held / weights, peak.anonymous / weights
        print(f"{stage:28}{watch.seconds[stage]:9.0f}{peak.held / 2**30:8.2f}{times:8.2f}{own:19.2f}{peak.processes:11}")
    worst = max(watch.peaks, key=lambda stage: watch.peaks[stage].held)
    print(f"\nlargest: {watch.peaks[worst].held / weights:.2f} times the weights, in `{worst}`; the limit is 2.5")


def main() -> int:
    """1 where more than two and a half times the weights were held at once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=3.2, help="size of the weights")
    parser.add_argument("--folder", type=Path, help="where to work; left out, a temporary folder in $TMPDIR")
    said = parser.parse_args()
    from generator import paths

    folder, watch = Path(tempfile.mkdtemp(prefix="large-model-", dir=said.folder)), Watch()
    try:
        weights = make(folder, said.gib)
        (folder / "cache").mkdir()
        for shared in ("server", "wheels"):  # the server environment is made once and shared
            (paths.cache() / shared).mkdir(parents=True, exist_ok=True)
            (folder / "cache" / shared).symlink_to(paths.cache() / shared)
        with watch.running():
            run(folder, watch, weights)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(max(peak.held for peak in watch.peaks.values()) > 2.5 * weights)


if __name__ == "__main__":
    sys.exit(main())
