"""Which public configs can the real tritonserver read? For public_configs.py.

Each config lies alone in its model folder, without a version: the server reads the text, and loads nothing whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from public_configs_sources import Public

from generator import field_versions, pbtxt
from generator.errors import RepositoryError, ServerError
from generator.server import Server

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_AT_ONCE = 4
_PATIENCE = 60.0  # seconds
#: core, src/filesystem/api.cc, ReadTextProto: all that the server says when the text is no ModelConfig.
_UNREADABLE = re.compile(r"failed to read text proto from \S*/([^/\s]+)/config\.pbtxt")
#: No answer to a request: the server ended, or loads for ever.
_SILENT = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")


@dataclass(frozen=True)
class Answers:
    """What the server of some version could read, and where that is not what we say of it."""

    version: str
    asked: int
    files: int
    ours: int
    later: int
    disagreements: tuple[str, ...]

    def report(self) -> str:
        """A paragraph."""
        agree = self.asked - len(self.disagreements)
        return "\n".join([
            f"tritonserver {self.version} was asked to load each file as it stands and each config as we write it.",
            f"It reads {self.files} files and {self.ours} of ours; {self.later} configs have fields of later servers.",
            f"On whether a text can be read, our reader and table of versions agree with it for {agree} of {self.asked} texts.",
        ])  # fmt: skip


def ask(files: Mapping[Public, Path], folder: Path) -> Answers:
    """Show the server every file as it is, and each config as we write it. Raises ServerError when it does not answer.

    The configs lie in model folders of `folder`; those that we write are put beside them, their names with a w in front.
    """
    told = {path.parent.name: str(public) for public, path in files.items()}
    configs = {path.parent.name: config for path in files.values() if (config := _read(path)) is not None}
    for name, config in configs.items():
        told[f"w{name}"] = f"{told[name]}, as we write it"
        (folder / f"w{name}").mkdir()
        (folder / f"w{name}" / "config.pbtxt").write_text(pbtxt.text(config), encoding="utf-8")
    with Server(folder, model_control="explicit", strict=True) as server:
        version = _load(server, list(told))
        unreadable = set(_UNREADABLE.findall(server.log))
    known = field_versions.version(version)
    later = {name for name, config in configs.items() if next(field_versions.unknown_to(config, known), None) is not None}
    expected = {name: name.removeprefix("w") in configs and name.removeprefix("w") not in later for name in told}
    wrong = [
        f"{told[n]}: tritonserver {'cannot' if fine else 'can'} read it"
        for n, fine in expected.items()
        if fine == (n in unreadable)
    ]
    ours = sum(name.startswith("w") for name in told.keys() - unreadable)
    return Answers(version, len(told), len(told.keys() - unreadable) - ours, ours, len(later), tuple(wrong))


def _read(path: Path) -> ModelConfig | None:
    try:
        return pbtxt.read(path)
    except RepositoryError:
        return None


def _load(server: Server, names: list[str]) -> str:
    """Ask for each model; that all are refused is no news. Returns the server's version."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    def load(name: str) -> None:
        try:
            client.load_model(name, client_timeout=_PATIENCE)
        except InferenceServerException as error:
            if error.status() in _SILENT:
                raise ServerError(
                    f"no answer from tritonserver to the load of {name}: {error.message()}", "see its log"
                ) from None

    with triton.InferenceServerClient(server.grpc_url) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(load, names))
        return str(client.get_server_metadata().version)
