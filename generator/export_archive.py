"""What a torch.export archive (.pt2) takes and gives, read from its JSON without torch; nothing in it is unpickled or run.

Layout: torch/export/pt2_archive/constants.py and torch/_export/serde/schema.py of torch 2.13 (schema version 8).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.errors import CheckpointError
from generator.file_kind import unreadable

#: torch/_export/serde/schema.py, ScalarType.
_DTYPES = {1: "UINT8", 2: "INT8", 3: "INT16", 4: "INT32", 5: "INT64", 6: "FP16", 7: "FP32", 8: "FP64", 12: "BOOL"}
_SYMBOL = re.compile(r"Symbol\('(\w+)'[^()]*\)")
#: A symbol in steps: `Mul(Integer(32), Symbol('s1', ...))`.
_STEPS = re.compile(r"Mul\(Integer\((\d+)\), Symbol\('(\w+)'[^()]*\)\)")


@dataclass(frozen=True)
class Dim:
    """A size: fixed, or free with a name, a range and a step; of an expression in other sizes only that it is free."""

    size: int = -1
    symbol: str = ""
    lowest: int = 1
    highest: int | None = None
    step: int = 1


@dataclass(frozen=True)
class Value:
    """A tensor that goes in or out."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class Archive:
    """What the program takes and gives, and the torch that wrote it."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    #: Inputs that go by keyword: the last ones.
    keywords: tuple[str, ...]
    version: str


def read(path: Path) -> Archive:
    """Raises CheckpointError for another format, several programs in one file, or inputs that are no tensors."""
    program = _program(path)
    try:
        return _read(path, program)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its layout is not that of torch.export (schema {program.get('schema_version')}): {error!r}",
            "save it again with torch 2.8 or later",
        ) from None


def _program(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"(?:[^/]+/)?models/[^/]+\.json", name)]
            if len(names) == 1:
                found: dict[str, Any] = json.loads(archive.read(names[0]))
                return found
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise unreadable(path, "a torch.export archive", error) from None
    if names:
        raise CheckpointError(f"{path}: it holds {len(names)} programs", "save one with torch.export.save")
    raise unreadable(path, "a torch.export archive", "it holds no models/NAME.json")


def _read(path: Path, program: Mapping[str, Any]) -> Archive:
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    ranges = program["range_constraints"]
    inputs = [spec["user_input"]["arg"] for spec in signature["input_specs"] if "user_input" in spec]
    outputs = [spec["user_output"]["arg"] for spec in signature["output_specs"] if "user_output" in spec]
    if odd := [arg for arg in inputs if "as_tensor" not in arg]:
        raise CheckpointError(
            f"{path}: {len(odd)} of its inputs are no tensors ({', '.join(next(iter(arg)) for arg in odd)})",
            "export a module that takes tensors only",
        )
    taken = [arg["as_tensor"]["name"] for arg in inputs]
    given = [arg["as_tensor"]["name"] for arg in outputs if "as_tensor" in arg]
    call = program["graph_module"]["module_call_graph"][0]["signature"]
    names = _named(call["out_spec"], len(outputs))
    kept = [name for name, arg in zip(names, outputs, strict=True) if "as_tensor" in arg]
    tensors = graph["tensor_values"]
    return Archive(
        tuple(_value(name, tensors[name], ranges) for name in taken),
        tuple(_value(name, tensors[key], ranges) for name, key in zip(kept, given, strict=True)),
        tuple(map(str, _keys(json.loads(call["in_spec"])[1]["children_spec"][1]))),
        str(program.get("torch_version", "")),
    )


def _value(name: str, meta: Mapping[str, Any], ranges: Mapping[str, Any]) -> Value:
    if (dtype := _DTYPES.get(meta["dtype"])) is None:
        raise ValueError(f"{name} has a type that Triton does not carry (ScalarType {meta['dtype']})")
    return Value(name, dtype, tuple(_dim(size, ranges) for size in meta["sizes"]))


def _dim(size: Mapping[str, Any], ranges: Mapping[str, Any]) -> Dim:
    if "as_int" in size:
        return Dim(int(size["as_int"]))
    text = size["as_expr"]["expr_str"]
    single, steps = _SYMBOL.fullmatch(text), _STEPS.fullmatch(text)
    if single is None and steps is None:
        return Dim()
    symbol, step = (steps.group(2), int(steps.group(1))) if steps else (single.group(1), 1) if single else ("", 1)
    limits = ranges.get(symbol) or {}
    lowest, highest = limits.get("min_val"), limits.get("max_val")
    return Dim(-1, symbol, step * max(lowest or 1, 1), step * highest if highest is not None else None, step)


def _named(spec: str, count: int) -> list[str]:
    """Names of the outputs by their way through the result, as `generator.flatten` gives them."""
    names = [name or "output" for name in _leaves(json.loads(spec)[1], "")]
    if len(names) != count:
        raise ValueError(f"{count} outputs and {len(names)} places for them")
    return names


def _leaves(spec: Mapping[str, Any], way: str) -> Iterator[str]:
    if spec["type"] is None:
        yield way
        return
    for key, inner in zip(_keys(spec), spec["children_spec"], strict=True):
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(key)).replace("..", "_")
        yield from _leaves(inner, f"{way}_{name}" if way else name if not name.isdigit() else f"output_{name}")


def _keys(spec: Mapping[str, Any]) -> Sequence[Any]:
    if spec["type"] in ("builtins.tuple", "builtins.list"):
        return range(len(spec["children_spec"]))
    if spec["type"] in ("builtins.dict", "collections.OrderedDict"):
        keys: list[Any] = json.loads(spec["context"])
        return keys
    raise ValueError(f"its result is a {spec['type']}")
