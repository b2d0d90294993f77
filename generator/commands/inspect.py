"""triton-repo inspect: what a checkpoint is, without running anything from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from generator.inspection import Group
    from generator.inspection.report import Report

_FIRST = 10


@click.command("inspect")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help=f"Every tensor, not the first {_FIRST} of each group.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, with every tensor.")
def command(checkpoint: Path, every: bool, as_json: bool) -> None:
    """Say what CHECKPOINT is: framework, tensors, likely inputs and outputs, architecture, detector head.

    CHECKPOINT is a file, or the folder of a transformers model or a SavedModel. Nothing in it is run, imported or unpickled.
    """
    from generator.inspection.report import report

    found = report(checkpoint)
    if as_json:
        click.echo(json.dumps(_described(found), indent=2))
        return
    _show(found, every)


def _described(found: Report) -> dict[str, Any]:
    """As plain data."""
    from generator.recognise import line

    return {
        "file": str(found.path),
        "bytes": found.size,
        "format": found.kind.phrase,
        "kind": found.kind.kind,
        "facts": dict(found.contents.facts),
        "parameters": found.contents.groups[found.chosen].parameters if found.contents.groups else None,
        "weights": [_group(found, index) for index in range(len(found.contents.groups))],
        "inputs": [_tensor(tensor) for tensor in found.inputs],
        "outputs": [_tensor(tensor) for tensor in found.outputs],
        "heads": [line(head) for head in found.heads],
        "head_by_names": str(found.named_head) if found.named_head else None,
        "labels": list(found.labels),
        "loading_runs_code": bool(found.contents.code),
        "foreign_names": list(found.contents.code),
        "preprocess": dict(found.preprocessing),
        "notes": list(found.notes),
    }


def _group(found: Report, index: int) -> dict[str, Any]:
    group = found.contents.groups[index]
    return {
        "path": group.path,
        "module": group.module,
        "prefix": found.judged[index].prefix,
        "averaged": group.averaged,
        "served": index == found.chosen,
        "parameters": group.parameters,
        "architectures": [str(guess) for guess in found.judged[index].guesses],
        "tensors": [{"name": n, "dtype": a.dtype, "shape": list(a.shape)} for n, a in group.tensors.items()],
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    shape = [*(["batch"] if tensor.batched else []), *tensor.shape]
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}


def _show(found: Report, every: bool) -> None:
    from generator.console import console, table

    rows = table("", "", "")
    for what, text in _lines(found):
        rows.add_row(_printable(what), _printable(text))
    out = console()
    out.print(str(found.path))
    out.print(rows)
    for group in found.contents.groups:
        out.print(_title(group, every))
        out.print(_tensors(group, every))


def _lines(found: Report) -> list[tuple[str, str]]:
    from generator.recognise import line
    from generator.spec_text import flow

    rows = [("format", str(found.kind)), ("size", _bytes(found.size)), *found.contents.facts.items()]
    rows += [line_ for index in range(len(found.contents.groups)) for line_ in _weights(found, index)]
    rows += [("inputs", _listed(found.inputs)), ("outputs", _listed(found.outputs))]
    if found.heads:
        title = "head" if len(found.heads) == 1 else "heads that take these outputs"
        rows.append((title, "\n".join(map(line, found.heads))))
    elif found.named_head:
        rows.append(("head", str(found.named_head)))
    if found.preprocessing:
        rows.append(("preprocess", flow(dict(found.preprocessing))))
    if found.labels:
        labels = found.labels
        rows.append(("labels", f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"))
    rows.append(("loading it", _loading(found)))
    return [*rows, *(("note", note) for note in found.notes)]


def _weights(found: Report, index: int) -> list[tuple[str, str]]:
    group, prefix = found.contents.groups[index], found.judged[index].prefix
    several = len(found.contents.groups) > 1
    where = f"weights {group.path}" if group.path else "weights"
    types: dict[str, int] = {}
    for array in group.tensors.values():
        types[array.dtype] = types.get(array.dtype, 0) + 1
    text = f"{len(group.tensors)} tensors, {group.parameters:,} numbers; {', '.join(f'{n} {t}' for t, n in types.items())}"
    said = [
        f"of {group.module}" if group.module else "",
        f"every name begins with `{prefix}`" if prefix else "",
        "a moving average (EMA)" if group.averaged else "",
        "these would be served" if several and index == found.chosen else "",
    ]
    rows = [(where, "; ".join([text, *filter(None, said)]))]
    guesses = found.judged[index].guesses
    return [*rows, ("architecture", "\n".join(map(str, guesses)))] if guesses else rows


def _loading(found: Report) -> str:
    code = found.contents.code
    if code:
        first = ", ".join(code[:6]) + (f" and {len(code) - 6} more" if len(code) > 6 else "")
        return f"would run code: it names {first}"
    fields = type(found.frontend).model_fields if found.frontend else {}
    needs = found.kind.kind in ("torch_export",) and "trust_checkpoint" in fields
    return "asks for `trust_checkpoint: true` (its loader can run code)" if needs else "runs no code from the file"


def _listed(tensors: tuple[Any, ...]) -> str:
    return "\n".join(map(str, tensors)) or "not in the file; known once it is exported"


def _bytes(count: int) -> str:
    return f"{count:,} bytes" if count < 1 << 20 else f"{count / (1 << 20):,.1f} MiB"


def _title(group: Group, every: bool) -> str:
    more = 0 if every else len(group.tensors) - _FIRST
    where = f" of {_printable(group.path)}" if group.path else ""
    return f"tensors{where}{f' (first {_FIRST}; --all for {more} more)' if more > 0 else ''}"


def _tensors(group: Group, every: bool) -> Any:
    from generator.console import table

    rows = table("", "name", "type", "shape")
    for name, array in list(group.tensors.items())[: None if every else _FIRST]:
        rows.add_row(_printable(name), _printable(array.dtype), str(list(array.shape)))
    return rows


def _printable(text: str) -> str:
    """Without what would steer a terminal: names come from the file."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
