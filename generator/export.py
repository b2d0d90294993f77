"""A PyTorch module -> ONNX with a dynamic batch. Runs in a child process: torch comes and goes with it."""

from __future__ import annotations

import io
import logging
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import ExportError
from generator.frontends import Interface

if TYPE_CHECKING:
    import torch

#: An example of two keeps a batch of one from being taken for a constant.
EXAMPLE_BATCH = 2


def example(interface: Interface, batch: int = EXAMPLE_BATCH) -> tuple[torch.Tensor, ...]:
    """Random float32 inputs in the order of the interface, the same each time."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand((batch, *t.shape), generator=generator) for t in interface.inputs)


def export(module: torch.nn.Module, interface: Interface, opset: int, path: Path) -> str:
    """Write the ONNX; returns which of torch's exporters made it and why.

    Raises ExportError naming the operator where both refuse, and where the module returns something else than the interface says.
    """
    _outputs_fit(module, interface)
    reasons = []
    for name, dynamo in (("dynamo", True), ("TorchScript", False)):
        try:
            _export(module, interface, opset, path, dynamo)
            _forget_paths(path)
        except Exception as error:
            reasons.append(f"{name}: {_reason(error)}")
        else:
            return name + (f" (the first choice refused: {reasons[0]})" if reasons else "")
    raise ExportError(
        f"torch cannot export this module; {'; '.join(reasons)}", "rewrite that operation, or export to ONNX yourself"
    )


def _outputs_fit(module: torch.nn.Module, interface: Interface) -> None:
    import torch

    try:
        with torch.no_grad():
            result = module(*example(interface))
    except Exception as error:
        shapes = ", ".join(map(str, interface.inputs))
        raise ExportError(f"the module rejects its input {shapes}: {_reason(error)}", "correct checkpoint.inputs") from None
    found = [list(t.shape) for t in (result if isinstance(result, tuple | list) else [result])]
    expected = [[EXAMPLE_BATCH, *t.shape] for t in interface.outputs]
    if found != expected:
        raise ExportError(f"the module returns {found}, the spec says {expected}", "correct checkpoint.outputs")


def _export(module: torch.nn.Module, interface: Interface, opset: int, path: Path, dynamo: bool) -> None:
    import torch

    names = [t.name for t in interface.inputs]
    outputs = [t.name for t in interface.outputs]
    dynamic: dict[str, object]
    if dynamo:
        batch = torch.export.Dim("batch", min=1, max=1024)
        dynamic = {"dynamic_shapes": tuple({0: batch} for _ in names)}
    else:
        dynamic = {"dynamic_axes": {name: {0: "batch"} for name in [*names, *outputs]}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example(interface),
            str(path),
            input_names=names,
            output_names=outputs,
            opset_version=opset,
            dynamo=dynamo,
            external_data=False,
            **dynamic,  # type: ignore[arg-type]
        )


def _forget_paths(path: Path) -> None:
    """Stack traces hold paths of this machine; what is built must not depend on where. Names of modules stay."""
    from generator.graph import load, save

    model = load(path)
    holders: tuple[Any, ...] = (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        model,
    )
    for holder in holders:
        kept = [entry for entry in holder.metadata_props if "/" not in entry.value]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)
    for node in model.graph.node:
        node.doc_string = ""
    save(model, path)


def _reason(error: BaseException) -> str:
    """The first line that says something, and the operator where one is named anywhere in the chain."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__
    text = "\n".join(str(e) for e in chain)
    operator = re.search(r"\b(?:aten|torchvision|prims|quantized)(?:::|\.)\w+(?:\.\w+)?", text)
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(chain[-1])).splitlines() if line.strip()]
    first = lines[0] if lines else type(chain[-1]).__name__
    named = f"operator {operator.group()}: " if operator and operator.group() not in first else ""
    return f"{named}{first[:300]}"
