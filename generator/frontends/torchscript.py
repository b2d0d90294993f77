"""torchscript: a module saved with torch.jit.save."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator import torchscript_signature
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.file_kind import unreadable
from generator.frontends import Interface
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch

_FILES = re.compile(r"\b(save|from_file)\(")


class TorchScript(TorchFrontend):
    """A TorchScript archive (`torch.jit.save`), scripted or traced; its own control flow is kept.

    Loading runs no Python: the archive holds TorchScript, which torch interprets. The operators that write files are looked for.
    """

    kind: Literal["torchscript"] = "torchscript"
    sources: ClassVar[tuple[str, ...]] = ("../torchscript_signature.py", "../torch_weights.py")
    file: Annotated[SpecFile, Field(description="The .pt file.")]
    trust_checkpoint: Annotated[
        bool, Field(description="Run a module whose code reads or writes files itself; only from who you trust.")
    ] = False

    def files(self) -> list[Path]:
        """The archive."""
        return [self.file, *self.code()]

    def interface(self) -> Interface | None:
        """What the spec says, held against the number of arguments and results of its forward."""
        taken, given = self._signature()
        if len(self.inputs) > len(taken):
            raise CheckpointError(
                f"{self.file}: its forward takes {len(taken)} inputs ({', '.join(taken)}), the spec names {len(self.inputs)}",
                "correct checkpoint.inputs",
            )
        if self.outputs and given is not None and len(self.outputs) > given:
            raise CheckpointError(
                f"{self.file}: its forward returns {given} tensors, the spec names {len(self.outputs)}",
                "correct checkpoint.outputs",
            )
        return super().interface()

    def module(self) -> torch.nn.Module:
        """The module, in eval mode."""
        import torch

        self._signature()
        self._harmless()
        try:
            module: torch.nn.Module = torch.jit.load(str(self.file), map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            raise unreadable(self.file, "a TorchScript archive", error) from None
        return module.eval() if hasattr(module, "training") else module  # a frozen one is in eval mode for good

    def _signature(self) -> tuple[list[str], int | None]:
        try:
            return torchscript_signature.read(self.file)
        except CheckpointError as error:
            if "has no forward" in error.message:
                raise
            raise unreadable(self.file, "a TorchScript archive", error.message.partition(": ")[2]) from None

    def _harmless(self) -> None:
        """Of all operators in TorchScript, torch.save and torch.from_file touch files (the list of torch 2.13's)."""
        if self.trust_checkpoint:
            return
        with zipfile.ZipFile(self.file) as archive:
            for name in archive.namelist():
                if name.endswith(".py") and (found := _FILES.search(archive.read(name).decode("utf-8", "replace"))):
                    raise CheckpointError(
                        f"{self.file}: its code calls torch.{found.group(1)}, which reads or writes files ({name})",
                        "if you trust whoever made it, say `trust_checkpoint: true`",
                    )
