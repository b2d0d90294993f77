"""Boxes in layers, as K. Sugiyama and others draw directed graphs: longest path, fewer crossings by barycentres, then places.

Positions are in pixels; y grows downwards, along the data.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from generator.diff_scene import Box, Edge, Piece

Point = tuple[float, float]
Size = tuple[float, float]
GAP_X, GAP_Y, LANE = 28.0, 46.0, 18.0
_SWEEPS = 12


@dataclass(frozen=True)
class Placed:
    """A piece with a place for everything: the upper left corner and size of each box, and the way of each edge."""

    piece: Piece
    corners: dict[str, Point]
    sizes: dict[str, Size]
    ways: list[tuple[Edge, list[Point]]]
    width: float
    height: float


def place(piece: Piece, measure: Callable[[Box], Size]) -> Placed:
    """Lay one piece out; its upper left corner is (0, 0)."""
    sizes: dict[str, Size] = {key: measure(box) for key, box in piece.boxes.items()}
    layer = _layers(piece)
    chains = [_chain(edge, layer, number, sizes) for number, edge in enumerate(piece.edges)]
    rows = _rows(layer, piece, chains)
    links = [(a, b) for chain in chains for a, b in itertools.pairwise(chain)]
    _untangle(rows, links)
    centres = _centres(rows, links, sizes)
    left = min(centres[key] - sizes[key][0] / 2 for key in centres)
    tops, heights, height = _heights(rows, sizes)
    where = {key: (x - left, tops[i]) for i, row in enumerate(rows) for key, x in ((k, centres[k]) for k in row)}
    corners = {
        key: (where[key][0] - size[0] / 2, where[key][1] + (heights[layer[key]] - size[1]) / 2)
        for key, size in sizes.items() if key in piece.boxes
    }  # fmt: skip
    ways = []
    for edge, chain in zip(piece.edges, chains, strict=True):
        tall = heights[layer[chain[0]] + 1 : layer[chain[-1]]]
        ways.append((edge, _way(chain, where, (corners, sizes), tall)))
    width = max(x + sizes[key][0] / 2 for key, (x, _) in where.items())
    return Placed(piece, corners, {key: sizes[key] for key in piece.boxes}, ways, width, height)


def _layers(piece: Piece) -> dict[str, int]:
    """Longest path from above; an edge that would close a circle (a node moved in the other graph) is passed over."""
    above: dict[str, list[str]] = defaultdict(list)
    for edge in piece.edges:
        above[edge.target].append(edge.source)
    found: dict[str, int] = {}

    def depth(key: str, path: tuple[str, ...]) -> int:
        if key not in found:
            levels = [depth(source, (*path, key)) for source in above[key] if source not in (*path, key)]
            found[key] = 1 + max(levels, default=-1)
        return found[key]

    for key in piece.boxes:
        depth(key, ())
    _pull_down(piece, found)
    return found


def _pull_down(piece: Piece, layer: dict[str, int]) -> None:
    """What nothing leads to stands right above its first reader."""
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in piece.edges:
        targets[edge.source].append(edge.target)
    for key in piece.boxes:
        if layer[key] == 0 and targets[key]:
            layer[key] = max(0, min(layer[t] for t in targets[key]) - 1)


def _chain(edge: Edge, layer: Mapping[str, int], number: int, sizes: dict[str, Size]) -> list[str]:
    """The edge as steps of one layer, with a lane wherever it passes one."""
    a, b = (edge.source, edge.target) if layer[edge.source] <= layer[edge.target] else (edge.target, edge.source)
    lanes = [f"lane {number} {level}" for level in range(layer[a] + 1, layer[b])]
    sizes.update(dict.fromkeys(lanes, (LANE, 0.0)))
    return [a, *lanes, b]


def _rows(layer: Mapping[str, int], piece: Piece, chains: Sequence[Sequence[str]]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for key in piece.boxes:
        rows[layer[key]].append(key)
    for chain in chains:
        start = layer[chain[0]]
        for step, key in enumerate(chain[1:-1], start + 1):
            rows[step].append(key)
    return rows


def _untangle(rows: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
    """Each row in the order of the mean place of what it hangs on, down and up by turns."""
    near = _near(links)
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            spot = {key: i / max(1, len(r) - 1) if len(r) > 1 else 0.5 for r in rows for i, key in enumerate(r)}
            row.sort(key=lambda key: sum(spot[n] for n in near[key]) / len(near[key]) if near[key] else spot[key])


def _near(links: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    near: dict[str, list[str]] = defaultdict(list)
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    return near


def _centres(rows: Sequence[Sequence[str]], links: Sequence[tuple[str, str]], sizes: Mapping[str, Size]) -> dict[str, float]:
    """The middle of each: side by side at first, then under what it hangs on or above it by turns, as far as there is room.

    The last turns go down, so that a chain hangs straight and bends only where it joins another.
    """
    above, below, x = defaultdict(list), defaultdict(list), {}
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    for row in rows:
        at = 0.0
        for key in row:
            x[key] = at + sizes[key][0] / 2
            at += sizes[key][0] + GAP_X
    for sweep in range(2 * _SWEEPS + 1):
        near, order = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in order:
            wanted = [statistics.median(x[n] for n in near[key]) if near[key] else x[key] for key in row]
            x.update(zip(row, _apart(wanted, [sizes[key][0] for key in row]), strict=True))
    return x


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The places nearest to those wanted (least squares) in that order without overlap: neighbours that collide move as one."""
    offsets = [0.0]
    for left, right in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP_X)
    blocks: list[list[float]] = []  # [sum of wanted places, count]
    for place_, offset in zip(wanted, offsets, strict=True):
        blocks.append([place_ - offset, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    levels = [total / count for total, count in blocks for _ in range(int(count))]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _heights(rows: Sequence[Sequence[str]], sizes: Mapping[str, Size]) -> tuple[list[float], list[float], float]:
    """The top and height of each row, and the height of all."""
    heights = [max(sizes[key][1] for key in row) for row in rows]
    tops = [sum(heights[:i]) + i * GAP_Y for i in range(len(rows))]
    return tops, heights, tops[-1] + heights[-1]


def _way(
    chain: Sequence[str], where: Mapping[str, Point], boxes: tuple[Mapping[str, Point], Mapping[str, Size]], tall: Sequence[float]
) -> list[Point]:
    """From the lower edge of the upper box, through its lanes (each as tall as its row), to the edge of the lower one."""
    corners, sizes = boxes
    first, last = chain[0], chain[-1]
    points = [(where[first][0], corners[first][1] + sizes[first][1])]
    for key, height in zip(chain[1:-1], tall, strict=True):
        x, top = where[key]
        points += [(x, top), (x, top + height)]
    return [*points, (where[last][0], corners[last][1])]
