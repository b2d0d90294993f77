"""A checkpoint's module -> a TorchScript archive for Triton's pytorch backend.

What was made is loaded again and run at other sizes than its example, so that a frozen axis or branch is found here. Runs in a
child process: torch comes and goes with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generator import exporters
from generator.errors import ExportError
from generator.export import Refusal, prepared
from generator.export_proof import difference
from generator.flatten import Flat
from generator.frontends import Arrays
from generator.frozen import Watch
from generator.rows import aligned
from generator.served_module import Served, Trial, trials

if TYPE_CHECKING:
    from generator.backends import Order
    from generator.exporters import Work

#: Of the largest value: sums in another order, and batch normalisations folded into convolutions.
_SAME = {"float16": 1e-2}
_SAME_OTHERWISE = 1e-4
#: What a writer adds by itself.
_OWN_RECORDS = ("version", "byteorder", ".data/serialization_id", ".format_version", ".storage_alignment")
#: Of operators that the backend's libtorch carries, and libtorchvision beside it.
_NAMESPACES = ("aten", "prim", "quantized", "_quantized", "mkldnn", "torchvision")
_ELSE = "or say `target: onnxruntime` or `target: openvino`"


@dataclass(frozen=True)
class Job:
    """What is to be made, and what it must answer."""

    order: Order
    work: Work
    trials: Sequence[Trial]
    freeze: bool

    def script(self, work: Work, path: Path) -> str:
        """torch.jit.script of the module, or of its parts that decide by values; a trace gives tensors their order around it."""
        inner, how = exporters.scripted(work)
        return self._written(inner, how, path)

    def trace(self, work: Work, path: Path) -> str:
        """torch.jit.trace."""
        return self._written(work.flat.inner, "trace", path)

    def _written(self, inner: torch.nn.Module, how: str, path: Path) -> str:
        work = self.work
        flat = Flat(inner, list(work.inputs), work.flat.wanted)
        scalars = tuple(values.ndim == 0 for values in work.feeds[0].values())
        served = Served(flat, self.order.picture, scalars).eval()
        with torch.no_grad(), Watch(served) as watch:
            made: Any = torch.jit.trace(served, self.trials[0].given, check_trace=False)  # type: ignore[no-untyped-call]
        work.frozen.update(watch.frozen)
        _known_there(made.inlined_graph)
        save(torch.jit.freeze(made) if self.freeze else made, path)
        return how

    def proven(self, path: Path) -> dict[str, str]:
        """The largest difference. Raises ExportError where the archive, loaded again, answers otherwise at any size."""
        loaded: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        largest = 0.0
        for trial in self.trials:
            found = aligned(trial.answer, self._asked(loaded, trial), self.work.unordered)
            if problem := next(_differences(trial.answer, found), ""):
                raise ExportError(f"made with {self.trials[0].size}, with {trial.size} it {problem}")
            largest = max([largest, *(_relative(values, found[name]) for name, values in trial.answer.items())])
        sizes = "; ".join(dict.fromkeys(trial.size for trial in self.trials))
        return {"held against the module": f"{sizes}; largest difference {largest:.1e} of the largest value"}

    def _asked(self, loaded: Any, trial: Trial) -> Arrays:
        try:
            with torch.inference_mode():
                result = loaded(*trial.given)
        except Exception as error:
            raise ExportError(f"made with {self.trials[0].size}, with {trial.size} it does not run: {_last(error)}") from None
        return dict(zip(trial.answer, (tensor.numpy() for tensor in result), strict=True))


def make(order: Order, capture: str, freeze: bool, path: Path) -> dict[str, str]:
    """Write the archive; how it was made, and how near it is. Raises ExportError where torch makes none that answers alike."""
    from generator.torch_frontend import TorchFrontend

    assert isinstance(order.checkpoint, TorchFrontend), "module_target.fits has looked"
    work, facts = prepared(order.checkpoint, 18)  # an opset, which does not matter here
    work.flat.wanted = [tensor.name for tensor in order.outputs]
    _takes_all(order, work)
    job = Job(order, work, list(trials(order, work)), freeze)
    refused: list[Refusal] = []
    for name in _names(capture, work.flat.inner):
        try:
            made = _attempt(job, name, path, careful=capture == "auto")
        except Exception as error:
            refused.append(Refusal(name, error))
        else:
            before = f" (refused before: {'; '.join(map(str, refused))})" if refused else ""
            made["capture"] += before
            return {**made, **_frozen(work), **_described(path, freeze), **facts}
    raise _cannot(work, refused)


def _names(capture: str, module: torch.nn.Module) -> tuple[str, ...]:
    """What to try. A module that is scripted already holds nothing to trace."""
    if capture != "auto":
        return (capture,)
    return ("script",) if isinstance(module, torch.jit.ScriptModule) else ("script", "trace")


def _attempt(job: Job, name: str, path: Path, careful: bool) -> dict[str, str]:
    """How it was made, and how near it is. A trace that froze something is taken only where the spec asks for a trace."""
    job.work.frozen.clear()
    how = exporters.quietly(getattr(job, name), job.work, path)
    if job.work.frozen and careful:
        raise ExportError(f"left out, it would freeze what depends on values ({next(iter(job.work.frozen))})")
    return {"capture": how, **job.proven(path)}


def _takes_all(order: Order, work: Work) -> None:
    if order.picture is None and [tensor.name for tensor in order.inputs] != list(work.inputs):
        taken = ", ".join(tensor.name for tensor in order.inputs)
        raise ExportError(
            f"the module takes {', '.join(work.inputs)}, of which its ONNX graph uses {taken}",
            f"take the others out of the module and of checkpoint.inputs, {_ELSE}",
        )


def _known_there(graph: Any) -> None:
    """Raise ExportError for operators that Python code has registered here: the server's libtorch does not have them."""
    nodes, found = list(graph.nodes()), set[str]()
    while nodes:
        node = nodes.pop()
        found.add(node.kind())
        nodes += [inner for block in node.blocks() for inner in block.nodes()]
    if foreign := sorted(kind for kind in found if kind.partition("::")[0] not in _NAMESPACES):
        raise ExportError(f"it calls {', '.join(foreign)}, which libtorch in the server does not have")


def save(module: Any, path: Path) -> None:
    """torch.jit.save, without the records that hold this machine's paths and the module's source for messages."""
    written = io.BytesIO()
    torch.jit.save(module, written)
    written.seek(0)
    reader: Any = torch._C.PyTorchFileReader(written)  # type: ignore[arg-type,unused-ignore]
    writer: Any = torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in _OWN_RECORDS:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.set_min_version(int(reader.get_record("version")))
    writer.write_end_of_file()


def _differences(wanted: Arrays, found: Arrays) -> Iterator[str]:
    for name, values in wanted.items():
        if problem := difference({name: values}, found, _SAME.get(str(values.dtype), _SAME_OTHERWISE)):
            yield problem


def _relative(wanted: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    if wanted.dtype.kind != "f":
        return 0.0
    finite = np.isfinite(wanted)
    distance = np.abs(wanted[finite].astype(np.float64) - found[finite]).max(initial=0.0)
    return float(distance / max(np.abs(wanted[finite]).max(initial=0.0), 1e-6))


def _described(path: Path, freeze: bool) -> dict[str, str]:
    """torch's version, the archive's format version, and operators that can run on the CPU alone."""
    reader: Any = torch._C.PyTorchFileReader(str(path))
    loaded: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    graph = loaded.inlined_graph  # held: its nodes end with it
    fixed = {
        use.user.kind()
        for node in graph.findAllNodes("prim::Constant")
        if node.output().type().kind() == "DeviceObjType"
        for use in node.output().uses()
    }
    only = f"; for the CPU only, as these fix their device: {', '.join(sorted(fixed))}" if fixed else ""
    version = reader.get_record("version").decode().strip()
    return {"torch": f"{torch.__version__}, file format {version}{', frozen' if freeze else ''}{only}"}


def _frozen(work: Work) -> dict[str, str]:
    """Only where the spec asks for a trace."""
    return {"frozen as for the example": "; ".join(map(str, work.frozen))} if work.frozen else {}


def _last(error: Exception) -> str:
    """The interpreter's reason is the last line of what it says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _cannot(work: Work, refused: Sequence[Refusal]) -> ExportError:
    where = f"{next(iter(work.frozen))}: " if work.frozen else ""
    return ExportError(
        f"{where}torch makes no TorchScript of this module; {'; '.join(map(str, refused))}",
        f"write it so that torch.jit.script takes it (docs/torchscript.md), {_ELSE}",
    )
