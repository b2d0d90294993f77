"""Tiny OpenVINO models and repositories, made by the converter that `target: openvino` uses."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from tiny_models import model

from generator import converter, environment
from generator.environment import Environment


def folder() -> Path:
    """Where the environment's packages lie; it is made where it is not there."""
    python = environment.ensure(Environment("openvino"))
    return next(python.parent.parent.glob("lib/python3*/site-packages"))


def ir(made: onnx.ModelProto, into: Path, precise: bool = True) -> None:
    """model.xml and model.bin of an ONNX model."""
    python = str(environment.ensure(Environment("openvino")))
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(made, Path(scratch) / "model.onnx")
        names = {"inputs": [t.name for t in made.graph.input], "outputs": [t.name for t in made.graph.output]}
        said = f'{{"precise": {str(precise).lower()}}}'
        found = converter.of(python, "to_openvino.py", said)
        found.ask("convert", graph=f"{scratch}/model.onnx", folder=str(into), **names)


def write(repository: Path, name: str, made: onnx.ModelProto, config: str) -> Path:
    """A model as IR, with its config, in `repository`; returns its folder."""
    ir(made, repository / name / "1")
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "openvino"\n{config}')
    return repository / name


def doubled(elem: int = TensorProto.FLOAT, rows: int | str = "N") -> onnx.ModelProto:
    """y = x + x, [rows, 4]."""
    return model([helper.make_node("Add", ["x", "x"], ["y"])], {"x": (elem, (rows, 4))}, {"y": (elem, (rows, 4))})


def parameter(key: str, value: str) -> str:
    """A line of config.pbtxt."""
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


PADDED = parameter("ENABLE_BATCH_PADDING", "YES")
