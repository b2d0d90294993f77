"""Graphs as ONNX Runtime's own quantisers leave them, which is how many 8-bit models are handed on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

#: The architectures that are quantised: one of texts, one of pictures.
TEXTS, PICTURES = "bert_2_layers", "resnet18"


#: Of the static quantiser: the form, and whether biases are quantised too.
_FORMS = (("QOperator", True), ("QDQ", True), ("QDQ", False))


def quantised(store: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each; of what lies in the folder of graphs."""
    from onnxruntime import quantization as q

    texts, pictures = (store / name / "final" / "model.onnx" for name in (TEXTS, PICTURES))
    if texts.exists():
        path = folder / "dynamic.onnx"
        q.quantize_dynamic(_bare(texts), path)
        yield "bert, 8 bits (onnxruntime, quantize_dynamic)", path
    for form, bias in _FORMS if pictures.exists() else ():
        path = folder / f"{form}{bias}.onnx"
        q.quantize_static(
            _bare(pictures), path, _samples(pictures), quant_format=q.QuantFormat[form], per_channel=True,
            activation_type=q.QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": bias},
        )  # fmt: skip
        yield f"resnet18, 8 bits (onnxruntime, quantize_static, {form}{'' if bias else ', biases in FLOAT'})", path


def _bare(path: Path) -> onnx.ModelProto:
    """Without inner shapes, which the quantisers do not keep in step with what they transpose."""
    model = onnx.load(path)
    del model.graph.value_info[:]
    return model


def _samples(path: Path) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    name, random = onnx.load(path, load_external_data=False).graph.input[0].name, np.random.default_rng(0)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = 4

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            self.left -= 1
            return {name: random.standard_normal((2, 3, 224, 224), dtype=np.float32)} if self.left >= 0 else None

    return Reader()
