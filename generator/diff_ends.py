"""Inputs, outputs, constants and opsets of two ONNX graphs compared."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from generator import weights

if TYPE_CHECKING:
    from generator.onnx_diff import Side


#: So many numbers of a constant are compared at a time.
_PIECE = 2**20


@dataclass(frozen=True)
class Entry:
    """One difference. `status` is added, removed, changed or renamed; `details` says what changed."""

    kind: str  # node, initialiser, input, output, opset
    status: str
    name: str
    op: str = ""
    details: tuple[str, ...] = ()


def tensor(value: onnx.ValueInfoProto) -> str:
    """`FP32[batch, 4]`, with the names that the model gives to free dimensions."""
    kind = value.type.tensor_type
    dims = [d.dim_param or ("?" if not d.HasField("dim_value") else str(d.dim_value)) for d in kind.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(kind.elem_type)}[{', '.join(dims)}]"


def ends(
    kind: str, one: Mapping[str, onnx.ValueInfoProto], two: Mapping[str, onnx.ValueInfoProto]
) -> tuple[dict[str, str], list[Entry]]:
    """Inputs or outputs: by name, then by place where type and shape agree."""
    same = {name: name for name in one if name in two}
    left = [name for name in two if name not in same]
    entries = []
    for name in [n for n in one if n not in same]:
        partner = next((other for other in left if tensor(one[name]) == tensor(two[other])), None)
        if partner is None:
            entries.append(Entry(kind, "removed", name, tensor(one[name])))
            continue
        left.remove(partner)
        same[name] = partner
        entries.append(Entry(kind, "renamed", partner, tensor(two[partner]), (f"was {name}",)))
    for a, b in same.items():
        if tensor(one[a]) != tensor(two[b]):
            entries.append(Entry(kind, "changed", b, tensor(two[b]), (f"was {tensor(one[a])}",)))
    return same, entries + [Entry(kind, "added", name, tensor(two[name])) for name in left]


def content(init: onnx.TensorProto) -> tuple[Hashable, ...]:
    """Type, shape and a digest of the numbers."""
    return (init.data_type, tuple(init.dims), hashlib.sha256(weights.data(init)).hexdigest())


def constants(before: Side, after: Side) -> tuple[dict[str, str], list[Entry]]:
    """Initialisers: by name, then by content."""
    one, two = ({n: content(i) for n, i in side.constants.items()} for side in (before, after))
    same = {name: name for name in one if name in two}
    left = {name for name in two if name not in same}
    entries = []
    for name in [n for n in one if n not in same]:
        partner = next((other for other in two if other in left and two[other] == one[name]), None)
        if partner is None:
            entries.append(Entry("initialiser", "removed", name, shape(before.constants[name])))
            continue
        left.discard(partner)
        same[name] = partner
        entries.append(Entry("initialiser", "renamed", partner, shape(after.constants[partner]), (f"was {name}",)))
    for a, b in same.items():
        if one[a] != two[b]:
            said = _values(before.constants[a], after.constants[b])
            entries.append(Entry("initialiser", "changed", b, shape(after.constants[b]), said))
    return same, entries + [Entry("initialiser", "added", n, shape(after.constants[n])) for n in two if n in left]


def shape(init: onnx.TensorProto) -> str:
    """`FLOAT[4, 3]`"""
    return f"{onnx.TensorProto.DataType.Name(init.data_type)}[{', '.join(map(str, init.dims))}]"


def _values(one: onnx.TensorProto, two: onnx.TensorProto) -> tuple[str, ...]:
    if shape(one) != shape(two):
        return (f"was {shape(one)}",)
    a, b = weights.array(one).reshape(-1), weights.array(two).reshape(-1)
    if a.size == 1:
        return (f"was {a[0]}, is {b[0]}",)
    pieces = [(a[i : i + _PIECE], b[i : i + _PIECE]) for i in range(0, a.size, _PIECE)]
    count = f"{sum(np.count_nonzero(x != y) for x, y in pieces):,} of {a.size:,} values"
    if a.dtype.kind not in "fiu":
        return (f"{count} differ",)
    furthest = max(np.abs(x.astype(np.float64) - y.astype(np.float64)).max() for x, y in pieces)
    return (f"{count} differ, by {furthest:.3g} at most",)


def opsets(one: onnx.ModelProto, two: onnx.ModelProto) -> list[Entry]:
    """Domains that came, went, or have another version."""
    a, b = ({o.domain or "ai.onnx": o.version for o in model.opset_import} for model in (one, two))
    found = [Entry("opset", "removed", d, str(v)) for d, v in a.items() if d not in b]
    found += [Entry("opset", "changed", d, str(b[d]), (f"was {v}",)) for d, v in a.items() if d in b and b[d] != v]
    return found + [Entry("opset", "added", d, str(v)) for d, v in b.items() if d not in a]
