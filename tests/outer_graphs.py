"""Models whose weights lie outside, small ones: from 64 KiB on a tensor does."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graphs import model

from generator import graph, weights

RANDOM = np.random.default_rng(0)


def values(*shape: int) -> Any:
    """Seeded numbers; 64 KiB are 16,384 of them."""
    return RANDOM.normal(size=shape).astype(np.float32) / 16


def network() -> onnx.ModelProto:
    """A copy of what passes look for, with five weights of 64 KiB or more; two of them are equal."""
    copied = onnx.ModelProto()
    copied.CopyFrom(_network())
    return copied


@functools.cache
def _network() -> onnx.ModelProto:
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(x, conv) n = BatchNormalization(c, scale, shift, mean, var) i = Identity(n)
        r = Relu(i) h = HardSwish(r) p = ReduceMean<keepdims = 0>(h, axes) z = Add(p, zeros)
        g = Gemm<transB = 1>(z, left) m = Mul(g, factor) t = MatMul(m, right) u = MatMul(m, same) s = Add(t, u)
        w = Add(folded, folded) k = MatMul(s, w) y = Sub(k, bias) q = Abs(g)
    """
    right = values(128, 128)
    return model(
        "float[batch, 64, 8, 8] x => float[batch, 128] y, float[batch, 256] q", body,
        conv=values(64, 64, 3, 3), scale=np.full(64, 2, np.float32), shift=values(64), mean=values(64),
        var=np.ones(64, np.float32), axes=np.array([2, 3]), zeros=np.zeros(64, np.float32), left=values(256, 64),
        factor=np.full(256, 3, np.float32), right=np.tile(right, (2, 1)), same=np.tile(right, (2, 1)), folded=values(128, 128),
        bias=values(128),
    )  # fmt: skip


def outside(folder: Path, made: onnx.ModelProto | None = None) -> onnx.ModelProto:
    """The same model, its weights in a file of `folder`."""
    copied = onnx.ModelProto()
    copied.CopyFrom(made or _network())
    graph.save(copied, folder / "model.onnx", limit=0)
    return graph.load(folder / "model.onnx")


def held(made: onnx.ModelProto) -> tuple[int, int]:
    """Bytes of weights inside and outside, small ones left out."""
    large = [init for init in made.graph.initializer if weights.size(init) >= weights.SMALL]
    sizes = [(weights.size(init), weights.outside(init)) for init in large]
    return sum(size for size, out in sizes if not out), sum(size for size, out in sizes if out)
