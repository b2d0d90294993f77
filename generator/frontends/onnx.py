"""onnx: a model that is ONNX already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.frontends import Arrays, Frontend, Interface
from generator.tensors import Tensor


class Onnx(Frontend):
    """An ONNX file as it is; inputs and outputs are read from it."""

    kind: Literal["onnx"] = "onnx"
    file: Annotated[SpecFile, Field(description="The .onnx file; external data lies beside it.")]

    def files(self) -> list[Path]:
        """The file and the external data that it names."""
        from generator.graph import load

        names = {
            entry.value
            for init in load(self.file, weights=False).graph.initializer
            for entry in init.external_data
            if entry.key == "location"
        }
        return [self.file, *(self._beside(name) for name in sorted(names))]

    def interface(self) -> Interface:
        """Inputs and outputs from the graph."""
        from generator.graph import interface, load

        inputs, outputs = interface(load(self.file, weights=False))
        return Interface(inputs, outputs)

    def tensors(self) -> Mapping[str, Tensor]:
        """From the graph, shapes inferred."""
        from generator.graph import inner, load

        return inner(load(self.file, weights=False))

    def onnx_file(self) -> Path | None:
        """The file itself."""
        return self.file

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Copied, with its external data."""
        for file in self.files():
            shutil.copyfile(file, path if file == self.file else path.parent / file.name)
        return {"exporter": "none, the checkpoint is ONNX"}

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """ONNX Runtime's, which changes nothing of the graph."""
        from generator import graph

        return graph.run(graph.session(self.file, optimise=False), feeds), "onnxruntime, not optimised"

    def _beside(self, name: str) -> Path:
        path = (self.file.parent / name).resolve()
        if self.file.parent.resolve() not in path.parents:
            raise CheckpointError(f"{self.file}: its external data lies outside its folder: {name}", "move it beside the model")
        if not path.is_file():
            raise CheckpointError(f"{self.file}: its external data {name} is missing", "copy it beside the model")
        return path
