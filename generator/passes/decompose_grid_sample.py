"""decompose_grid_sample: GridSample in gathers and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir


class DecomposeGridSample(Pass):
    """GridSample of pictures (bilinear or nearest; zeros or border) in Floor, GatherElements, Mul and Add.

    Formula: onnx/docs/Operators.md, GridSample: x = ((gx + 1) * W - 1) / 2, or (gx + 1) * (W - 1) / 2 with align_corners; the
    four pixels around it weigh by their distance. X is [N, C, H, W], grid [N, Ho, Wo, 2] with x before y.
    """

    kind: Literal["decompose_grid_sample"] = "decompose_grid_sample"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "GridSample"

    def edit(self, model: ir.Model) -> None:
        """Every GridSample of rank 4."""
        for node in editing.standard(model.graph, "GridSample"):
            result = _Sampler(node).result()
            result.type, result.shape = node.outputs[0].type, node.outputs[0].shape
            editing.exchange(node.outputs[0], result)
            editing.drop([node])


class _Sampler:
    """Writes one GridSample out, in front of it."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.mode = editing.attribute(node, "mode", "bilinear")
        self.padding = editing.attribute(node, "padding_mode", "zeros")
        self.align = bool(editing.attribute(node, "align_corners", 0))
        shape = editing.shape_of(node.inputs[0])
        if self.mode not in ("bilinear", "linear", "nearest") or self.padding == "reflection" or (shape and len(shape) != 4):
            raise SurgeryError(
                f"decompose_grid_sample: {node.name or 'GridSample'} has mode {self.mode}, padding {self.padding}, input {shape}",
                "written out are bilinear and nearest, zeros and border, of [N, C, H, W]",
            )
        self.x, self.grid = node.inputs[0], node.inputs[1]
        self.type = self.grid.dtype.value if self.grid is not None and self.grid.dtype is not None else 1

    def op(
        self, op: str, *inputs: ir.Value | float | np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None, **attributes: object
    ) -> ir.Value:
        """One node; numbers take the type of the grid."""
        values = [self.constant(v) if isinstance(v, int | float | np.ndarray) else v for v in inputs]
        return editing.insert(self.node, op, *values, name=f"{self.node.name or 'GridSample'}/{op}", **attributes)

    def constant(self, value: float | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> ir.Value:
        """An initialiser."""
        import onnx_ir as ir

        array = value if isinstance(value, np.ndarray) else np.array(value, ir.DataType(self.type).numpy())
        return editing.constant(editing.home(self.node), f"{self.node.name or 'GridSample'}/const", array)

    def result(self) -> ir.Value:
        """The node that gives what GridSample gave."""
        sizes = self.op("Shape", self.x)
        height, width = (self.op("Cast", self.op("Gather", sizes, np.array(axis)), to=self.type) for axis in (2, 3))
        across, down = self._place(0, width), self._place(1, height)
        flat = self.op("Reshape", self.x, np.array([0, 0, -1]))
        if self.mode == "nearest":
            total = self._pixel(flat, self.op("Round", across), self.op("Round", down), width, height)
        else:
            total = self._blend(flat, across, down, width, height)
        grid = self.op("Shape", self.grid)
        ends = [self.op("Slice", shape, np.array([a]), np.array([b])) for shape, a, b in ((sizes, 0, 2), (grid, 1, 3))]
        return self.op("Reshape", total, self.op("Concat", *ends, axis=0))

    def _place(self, which: int, size: ir.Value) -> ir.Value:
        """Where each point lies, in pixels."""
        part = self.op("Gather", self.grid, np.array(which), axis=3)
        steps = self.op("Sub", size, 1.0) if self.align else size
        scaled = self.op("Mul", self.op("Add", part, 1.0), steps)
        place = self.op("Div", scaled if self.align else self.op("Sub", scaled, 1.0), 2.0)
        return self._clipped(place, size) if self.padding == "border" else place

    def _clipped(self, place: ir.Value, size: ir.Value) -> ir.Value:
        return self.op("Max", self.op("Min", place, self.op("Sub", size, 1.0)), 0.0)

    def _blend(self, flat: ir.Value, across: ir.Value, down: ir.Value, width: ir.Value, height: ir.Value) -> ir.Value:
        total: ir.Value | None = None
        sides = [[(low := self.op("Floor", at)), self.op("Add", low, 1.0)] for at in (across, down)]
        shares = [self.op("Sub", at, side[0]) for at, side in zip((across, down), sides, strict=True)]
        weights = [[self.op("Sub", 1.0, share), share] for share in shares]
        for i in (0, 1):
            for j in (0, 1):
                weight = self.op("Reshape", self.op("Mul", weights[0][i], weights[1][j]), np.array([0, 1, -1]))
                part = self.op("Mul", self._pixel(flat, sides[0][i], sides[1][j], width, height), weight)
                total = part if total is None else self.op("Add", total, part)
        assert total is not None
        return total

    def _pixel(self, flat: ir.Value, across: ir.Value, down: ir.Value, width: ir.Value, height: ir.Value) -> ir.Value:
        """[N, C, Ho * Wo]: the pixels at whole places; 0 outside, or the nearest at the border."""
        inside = [self._clipped(at, size) for at, size in ((across, width), (down, height))]
        index = self.op("Cast", self.op("Add", self.op("Mul", inside[1], width), inside[0]), to=7)
        index = self.op("Reshape", index, np.array([0, 1, -1]))
        shape = self.op("Concat", self.op("Slice", self.op("Shape", flat), np.array([0]), np.array([2])), np.array([1]), axis=0)
        found = self.op("GatherElements", flat, self.op("Expand", index, shape), axis=2)
        if self.padding == "border":
            return found
        same = self.op("And", self.op("Equal", inside[0], across), self.op("Equal", inside[1], down))
        return self.op("Mul", found, self.op("Reshape", self.op("Cast", same, to=self.type), np.array([0, 1, -1])))
