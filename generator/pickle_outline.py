"""What the pickle inside a PyTorch file describes, read without torch and without running anything that it names.

A pickle names classes and functions and says what to make of them. Here each of them is a `Thing` that remembers its name and what
it was given, so that the tree of modules with its plain attributes can be looked at and nothing of it comes to life
(https://docs.python.org/3/library/pickle.html#restricting-globals).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from generator.errors import CheckpointError

#: No outline is longer: weights lie beside it in the archive.
_LONGEST = 512 * 2**20
_STORAGES = {
    "FloatStorage": np.float32, "HalfStorage": np.float16, "DoubleStorage": np.float64, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip


class Thing:
    """An object of a pickle: `name` is its class or function, `arguments` what that was called with, `state` what was set."""

    name = ""

    def __new__(cls, *arguments: Any, **_: Any) -> Thing:
        """Whatever it is called with."""
        thing = super().__new__(cls)
        thing.arguments = arguments
        thing.state = {}
        return thing

    arguments: tuple[Any, ...]
    state: dict[Any, Any]

    def __setstate__(self, state: Any) -> None:
        """A dict, or a dict and slots, or anything else under ''."""
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            self.state.update(part if isinstance(part, dict) else {"": part})

    def __setitem__(self, key: Any, value: Any) -> None:
        """An item of a dict of a class of its own."""
        self.state[key] = value

    def append(self, value: Any) -> None:
        """An item of a list of a class of its own."""
        self.state[len(self.state)] = value

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; submodules, parameters and buffers of a torch.nn.Module among them."""
        for held in (self.state, *(self.state.get(key) for key in ("_modules", "_buffers", "_parameters"))):
            if isinstance(held, dict) and name in held:
                return held[name]
        return default

    def modules(self) -> Iterator[Thing]:
        """Its submodules, in order."""
        held = self.state.get("_modules")
        yield from (value for value in held.values() if isinstance(value, Thing)) if isinstance(held, dict) else ()


class Outline:
    """The object that `torch.save` wrote into a file, as Things. Raises CheckpointError where there is no such pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")
                if archive.getinfo(f"{self._root}data.pkl").file_size > _LONGEST:
                    raise CheckpointError(f"{path}: its pickle is longer than {_LONGEST} bytes", "is this the right file?")
                data = archive.read(f"{self._root}data.pkl")
            self.top = _Reader(io.BytesIO(data)).load()
        except (zipfile.BadZipFile, StopIteration, OSError) as error:
            raise CheckpointError(f"{path}: not a file of torch.save, or cut short ({error})", "fetch it again") from None
        except CheckpointError:
            raise
        except Exception as error:  # a broken pickle raises whatever its bytes lead to
            what = f"{path}: its pickle cannot be read: {type(error).__name__}: {error}"
            raise CheckpointError(what, "is this a file of torch.save?") from None

    def values(self, tensor: Any) -> list[float]:
        """The numbers of a small contiguous tensor, flat; none where `tensor` is not one."""
        if not isinstance(tensor, Thing) or not tensor.name.startswith("torch._utils._rebuild_tensor"):
            return []
        storage, offset, size = tensor.arguments[:3]
        dtype = _STORAGES.get(storage[1].name.rpartition(".")[2])
        if dtype is None or (count := int(np.prod(size))) > 4096:
            return []
        with zipfile.ZipFile(self.path) as archive:
            data = archive.read(f"{self._root}data/{storage[2]}")
        return [float(value) for value in np.frombuffer(data, dtype)[offset : offset + count]]


def shape(tensor: Any) -> tuple[int, ...]:
    """Of a tensor or parameter; () where `tensor` is neither."""
    if isinstance(tensor, Thing) and tensor.name == "torch._utils._rebuild_parameter":
        return shape(tensor.arguments[0])
    if isinstance(tensor, Thing) and tensor.name.startswith("torch._utils._rebuild_tensor"):
        return tuple(tensor.arguments[2])
    return ()


class _Reader(pickle.Unpickler):
    """Every name becomes a Thing; only plain containers come to life."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        return type(name, (Thing,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return pid
