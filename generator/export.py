"""A PyTorch module -> ONNX, its free axes by name. Runs in a child process: torch comes and goes with it.

torch's dynamo exporter is tried first, then `torch.jit.script`, then tracing; what each made is run at other sizes than the
example and held against the module, so that an axis or a branch that was frozen is found here and not by a request.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from generator import inputs
from generator.errors import ExportError
from generator.export_proof import FrozenError, difference, finished, lengths, proven
from generator.export_reasons import by_value, operator, reason, where
from generator.exporters import ATTEMPTS, Work, dims, quietly, shapes
from generator.frontends import Arrays

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat
    from generator.places import Place
    from generator.torch_frontend import TorchFrontend

#: Values of the largest sample at the ends of ranges; larger ones are left to the server.
_LARGEST = 2**21
#: How far two answers to the same question may lie apart (relative to the largest value): threads add up in other orders.
_AGAIN = 1e-5


@dataclass(frozen=True)
class Refusal:
    """An exporter that was tried, and why it is not the one."""

    name: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.name}: {reason(self.error)}"


def export(frontend: TorchFrontend, opset: int, path: Path) -> dict[str, str]:
    """Write the ONNX; which exporter made it, and why not the first.

    Raises ExportError naming operator and line where all refuse, where the module does not take or give what the spec says, and
    where an axis is not as free as the spec says.
    """
    work, facts = prepared(frontend, opset)
    refused: list[Refusal] = []
    for name in _names(frontend.exporter, work.flat.inner):
        try:
            with _apart(path) as made:
                how = _attempt(name, work, made, careful=frontend.exporter == "auto")
        except Exception as error:
            refused.append(Refusal(name, error))
        else:
            return {"exporter": how + _before(refused), **_frozen(work), **facts}
    raise _cannot(work, refused)


def prepared(frontend: TorchFrontend, opset: int) -> tuple[Work, dict[str, str]]:
    """The module after its passes with its answers at every size that is tried, and what the passes did.

    Raises ExportError where it does not take or give what the spec says.
    """
    module = frontend.module()
    facts: dict[str, str] = {}
    work = _work(frontend, module, opset)
    _as_said(frontend, work)
    if frontend.module_passes:
        from generator.module_surgery import apply

        module, facts = apply(frontend.module_passes, module, frontend.flat, work.feeds[0])
        work = _work(frontend, module, opset)
    return work, facts


def _names(exporter: str, module: torch.nn.Module) -> list[str]:
    """The exporters to try. A module that is scripted already is none for dynamo, and holds nothing to trace."""
    import torch

    if exporter != "auto":
        return [exporter]
    return ["script"] if isinstance(module, torch.jit.ScriptModule) else list(ATTEMPTS)


def _attempt(name: str, work: Work, path: Path, careful: bool) -> str:
    """How it was made. A trace that froze something is taken only where the spec asks for a trace."""
    work.frozen.clear()
    how = quietly(ATTEMPTS[name], work, path)
    if work.frozen and careful:
        raise ExportError(f"left out, it would freeze what depends on values ({next(iter(work.frozen))})")
    finished(work, path)
    proven(work, path)
    return how


@contextmanager
def _apart(path: Path) -> Iterator[Path]:
    """A folder for one attempt; what it made moves to `path` when it succeeded, what a refused one left is gone."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".attempt-") as folder:
        yield Path(folder) / path.name
        for file in Path(folder).iterdir():
            file.replace(path.parent / file.name)


def _before(refused: Sequence[Refusal]) -> str:
    return f" (refused before: {'; '.join(map(str, refused))})" if refused else ""


def _frozen(work: Work) -> dict[str, str]:
    """Only where the spec asks for a trace."""
    return {"frozen as for the example": "; ".join(map(str, work.frozen))} if work.frozen else {}


def _work(frontend: TorchFrontend, module: torch.nn.Module, opset: int) -> Work:
    flat, taken, axes = frontend.flat(module), frontend.taken(), frontend.ranges()
    sizes = inputs.sizes(taken, axes)
    feeds = inputs.samples(taken, axes)
    random = np.random.default_rng(1)
    for size in inputs.ends(taken, axes):
        if sum(int(np.prod(one.sized(size))) for one in taken.values()) <= _LARGEST:
            sizes.append(size)
            feeds.append({name: one.values(random, size) for name, one in taken.items()})
    answers = [_example(flat, feeds[0])]
    answers += [_other(flat, taken, one, size, sizes[0]) for one, size in zip(feeds[1:], sizes[1:], strict=False)]
    return Work(
        flat, flat.bare(feeds[0]), taken, axes, sizes[: len(feeds)], feeds, answers, opset,
        _translations(frontend), frontend.unordered(),
    )  # fmt: skip


def _translations(frontend: TorchFrontend) -> Mapping[object, object]:
    from generator import user_code

    table = user_code.call(frontend.translations, error=ExportError) if frontend.translations else {}
    if not isinstance(table, Mapping):
        raise ExportError(
            f"{frontend.translations} returns {type(table).__name__}, expected a dictionary {{operator: its translation}}",
            "docs/export.md shows one",
        )
    return {**frontend.operators(), **table}


def _example(flat: Flat, feeds: Arrays) -> Arrays:
    """The module's answer, which must be the same when it is asked again."""
    answer = flat.run(feeds)
    if problem := difference(answer, flat.run(feeds), _AGAIN):
        raise ExportError(
            f"asked the same twice, the module {problem.replace('the module gives', 'and before')}",
            "put it into eval mode, take random numbers out, and make state an input and an output",
        )
    return answer


def _other(
    flat: Flat, taken: Mapping[str, inputs.Input], feeds: Arrays, size: Mapping[str, int], first: Mapping[str, int]
) -> Arrays:
    try:
        return flat.run(feeds)
    except ExportError as error:
        guilty = {name: length for name, length in size.items() if length != first[name]}
        alone = {name: length for name, length in guilty.items() if not _takes(flat, taken, {**first, name: length})}
        raise ExportError(
            f"the module takes {lengths(first)}, but not {lengths(alone or guilty)}: {error.message}",
            "say what it takes under checkpoint.axes (`height: {min: 64, max: 512, multiple_of: 32}`), make that axis a number, "
            "or give axes that are always equal one name",
        ) from None


def _takes(flat: Flat, taken: Mapping[str, inputs.Input], size: Mapping[str, int]) -> bool:
    random = np.random.default_rng(0)
    try:
        flat.run({name: one.values(random, size) for name, one in taken.items()})
    except ExportError:
        return False
    return True


def _as_said(frontend: TorchFrontend, work: Work) -> None:
    """Types and shapes that the spec says of outputs."""
    from generator.tensors import numpy_dtype

    said = frontend.outputs if isinstance(frontend.outputs, dict) else {}
    for feeds, answer, size in zip(work.feeds, work.answers, work.sizes, strict=True):
        found = {name: answer[name] for name in said}
        if all(
            values.dtype == numpy_dtype(said[name].dtype) and _fits(said[name].shape, values.shape, size)
            for name, values in found.items()
        ):
            continue
        given = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
        told = ", ".join(f"{name} {numpy_dtype(one.dtype)}{list(one.shape)}" for name, one in said.items())
        gives = ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in found.items())
        raise ExportError(f"for {given} the module returns {gives}, the spec says {told}", "correct checkpoint.outputs")


def _fits(said: Sequence[int | str], found: Sequence[int], size: Mapping[str, int]) -> bool:
    """A name that an input has, too, is as long as there."""
    wanted = [size.get(dim, length) if isinstance(dim, str) else dim for dim, length in zip(said, found, strict=False)]
    return len(said) == len(found) and wanted == list(found)


def _cannot(work: Work, refused: Sequence[Refusal]) -> ExportError:
    """Why, and what to do: control flow, a frozen axis, an operator, or something else."""
    if value := next((r for r in refused if by_value(r.error)), None):
        others = "".join(f"; {each}" for each in refused if not by_value(each.error))
        said = f"what the module does depends on values of its inputs, which {value.name} cannot keep"
        return ExportError(
            f"{_before_colon(where(value.error))}{said}{others}",
            "write it with torch.cond or torch.where, or so that torch.jit.script takes it (docs/export.md)",
        )
    all_of = "; ".join(map(str, refused))
    if frozen := next((r.error for r in refused if isinstance(r.error, FrozenError)), None):
        return ExportError(
            f"{_axes(work, frozen)}; {all_of}",
            "take that size from the tensor's shape there, or make the axis a number in checkpoint.inputs",
        )
    missing = next((name for r in refused if (name := operator(r.error))), "")
    what = f"torch cannot export this module{_operator(work, missing)}; {all_of}"
    return ExportError(what, "rewrite that operation, translate it (`translations:`, docs/export.md), or export to ONNX yourself")


def _before_colon(place: Place | None) -> str:
    return f"{place}: " if place else ""


def _at(place: Place | None) -> str:
    return f" at {place}" if place else ""


def _axes(work: Work, error: FrozenError) -> str:
    """Which axes are frozen, and by whose line, as torch.export tells it."""
    from generator.frozen import fixed_axes

    found = fixed_axes(work.module, work.example, shapes(work, dims(work)), _stand(work))
    known = [str(each) for each in found if each.axis in error.axes]
    return "; ".join(known) or f"axis {', '.join(error.axes)} is not free in what torch exports"


def _stand(work: Work) -> dict[str, tuple[int, list[int]]]:
    """Each free axis: its length in the example, and the dimensions of inputs where it stands."""
    places = {
        name: [i for one in work.inputs.values() for i, dim in enumerate(one.shape) if dim == name] for name in work.sizes[0]
    }
    return {name: (length, places[name]) for name, length in work.sizes[0].items()}


def _operator(work: Work, name: str) -> str:
    from generator.frozen import user_of

    if not name:
        return ""
    return f": no translation of the operator {name}{_at(user_of(name, work.module, work.example))}"
