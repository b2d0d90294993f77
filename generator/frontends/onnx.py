"""onnx: a model that is ONNX already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generator.fields import SpecFile
from generator.frontends import Arrays, Frontend, Interface
from generator.tensors import Tensor


class Onnx(Frontend):
    """An ONNX file as it is; inputs and outputs are read from it."""

    kind: Literal["onnx"] = "onnx"
    file: Annotated[SpecFile, Field(description="The .onnx file; external data lies beside it.")]

    def files(self) -> list[Path]:
        """The file and the external data that it names."""
        from generator import weights
        from generator.graph import load

        return [self.file, *weights.files(load(self.file, weights=False), self.file)]

    def interface(self) -> Interface:
        """Inputs and outputs from the graph."""
        from generator.graph import interface, load

        inputs, outputs = interface(load(self.file, weights=False))
        return Interface(inputs, outputs)

    def tensors(self) -> Mapping[str, Tensor]:
        """From the graph, shapes inferred."""
        from generator.graph import inner, load

        return inner(load(self.file))

    def onnx_file(self) -> Path | None:
        """The file itself."""
        return self.file

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Copied; external data, however many files and folders they lie in, into one file."""
        from generator.graph import load, save

        if len(self.files()) > 1:
            save(load(self.file), path)
        else:
            shutil.copyfile(self.file, path)
        return {"exporter": "none, the checkpoint is ONNX"}

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """ONNX Runtime's, which changes nothing of the graph."""
        from generator import graph

        return graph.run(graph.session(self.file, optimise=False), feeds), "onnxruntime, not optimised"
