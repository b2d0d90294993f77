"""pickled: a whole module, saved with torch.save(model, path)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator import file_kind, torch_weights, user_code
from generator.errors import CheckpointError
from generator.fields import SpecFile, SpecPath
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch


class Pickled(TorchFrontend):
    """A whole module (`torch.save(model, path)`), only behind a word of trust: unpickling runs code from the file."""

    kind: Literal["pickled"] = "pickled"
    sources: ClassVar[tuple[str, ...]] = ("../torch_weights.py",)
    file: Annotated[SpecFile, Field(description="The .pt or .pth file.")]
    key: Annotated[str | None, Field(description="Where the module lies inside the file, such as `ema`.")] = None
    classes: Annotated[
        tuple[SpecPath, ...],
        Field(
            description="Where the module's classes are: folders to import from, or .py files, whose names also stand for those "
            "of the script that saved it (`__main__`)."
        ),
    ] = ()
    trust_checkpoint: Annotated[bool, Field(description="Load it, which runs code from it; only from who you trust.")] = False

    def files(self) -> list[Path]:
        """The file, and the sources of its classes."""
        named = [[path] if path.suffix == ".py" else sorted(path.rglob("*.py")) for path in self.classes]
        if missing := [path for path in self.classes if not path.exists()]:
            raise CheckpointError(f"checkpoint.classes: no such file or folder: {missing[0]}", "correct the path")
        return [self.file, *(path for paths in named for path in paths), *self.code()]

    def module(self) -> torch.nn.Module:
        """The module, in eval mode; half-precision weights become FP32 where no input is FP16."""
        import torch

        if not self.trust_checkpoint:
            raise CheckpointError(
                f"{self.file}: loading it runs code from the file", "if you trust whoever made it, say `trust_checkpoint: true`"
            )
        self._find_classes()
        try:
            loaded = torch_weights.load(self.file, trust=True)
        except (ImportError, AttributeError) as error:
            raise torch_weights.class_missing(self.file, error) from None
        found = loaded if self.key is None else torch_weights.at(self.file, loaded, self.key)
        if isinstance(found, torch.jit.ScriptModule):
            raise file_kind.unreadable(self.file, "a whole PyTorch module", "it is TorchScript")
        if not isinstance(found, torch.nn.Module):
            raise CheckpointError(f"{self.file}: no module; it is {torch_weights.described(found)}", _remedy(loaded, found))
        half = any(p.dtype in (torch.float16, torch.bfloat16) for p in found.parameters())
        return (found.float() if half and all(one.dtype != "FP16" for one in self.inputs.values()) else found).eval()

    def _find_classes(self) -> None:
        main = sys.modules["__main__"]
        for path in self.classes:
            folder = str(path.parent if path.suffix == ".py" else path)
            if folder not in sys.path:
                sys.path.insert(0, folder)
            if path.suffix == ".py":
                made = user_code.imported(str(path))
                for name, value in vars(made).items():
                    if not hasattr(main, name):
                        setattr(main, name, value)


def _remedy(loaded: Any, found: Any) -> str:
    import torch

    if torch_weights.is_state_dict(found):
        return "say `kind: state_dict` with a factory"
    modules = [key for key, value in loaded.items() if isinstance(value, torch.nn.Module)] if isinstance(loaded, dict) else []
    marked = [f"`key: {key}`{' (EMA)' if torch_weights.is_ema(str(key)) else ''}" for key in modules]
    return f"choose {' or '.join(marked)}" if marked else "is this the right file?"
