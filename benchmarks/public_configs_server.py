"""Which public configs can the real tritonserver read? For public_configs.py.

Each config lies alone in its model folder, without a version: the server reads the text, and loads nothing whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from public_configs_sources import Public

from generator import field_versions, pbtxt
from generator.errors import RepositoryError
from generator.server import Server

#: What the wheel's server is.
SERVER = (2, 51)
_AT_ONCE = 4
_PATIENCE = 60.0  # seconds
#: core, src/filesystem/api.cc, ReadTextProto: all that the server says when the text is no ModelConfig.
_UNREADABLE = re.compile(r"failed to read text proto from \S*/([^/\s]+)/config\.pbtxt")
#: What it says about a model whose config it has read.
_READ = re.compile(r"at least one version must be available|[Pp]oll failed|failed to load")


@dataclass(frozen=True)
class Answers:
    """How many configs the server could read, as they were and as we wrote them, and where that is not what we say of them."""

    asked: int
    readable: int
    later: int
    written: int
    disagreements: tuple[str, ...]

    def report(self) -> str:
        """A paragraph."""
        agree = f"{self.asked - len(self.disagreements)} of {self.asked} texts"
        return (
            f"tritonserver {'.'.join(map(str, SERVER))} was asked to load each of them, and each as we write it: it reads {self.readable}"
            f" as they stand and {self.written} as we write them.\nOf the others, {self.later} have fields that only later servers know."
            f" On {agree} it agrees with `generator/pbtxt.py` and `generator/field_versions.py`."
        )


def ask(files: Mapping[Public, Path], folder: Path) -> Answers:
    """Show the server every config as it is, and, where we can read it, as we write it. Raises ServerError when it ends."""
    expected: dict[str, bool] = {}
    names: dict[str, str] = {}
    later = 0
    for public, path in files.items():
        name = path.parent.name
        names[name], names[f"w{name}"] = str(public), f"{public}, as we write it"
        try:
            config = pbtxt.read(path)
        except RepositoryError:
            expected[name] = False
            continue
        newer = next(field_versions.unknown_to(config, SERVER), None) is not None
        later += newer
        expected[name] = expected[f"w{name}"] = not newer
        (folder / f"w{name}").mkdir()
        (folder / f"w{name}" / "config.pbtxt").write_text(pbtxt.text(config), encoding="utf-8")
    readable = _readable(folder, list(expected))
    wrong = [f"{names[name]}: the server {'can' if readable[name] else 'cannot'} read it" for name in expected if readable[name] != expected[name]]
    own = sum(readable[name] for name in expected if name.startswith("w"))
    return Answers(len(expected), sum(readable.values()) - own, later, own, tuple(wrong))


def _readable(repository: Path, names: list[str]) -> dict[str, bool]:
    """Model -> could the server read its config?"""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with Server(repository, model_control="explicit", strict=True) as server:
        with triton.InferenceServerClient(server.grpc_url) as client:

            def load(name: str) -> str:
                try:
                    client.load_model(name, client_timeout=_PATIENCE)
                except InferenceServerException as error:
                    return str(error.message())
                return ""

            with ThreadPoolExecutor(_AT_ONCE) as pool:
                answers = dict(zip(names, pool.map(load, names), strict=True))
        log = server.log
    print({re.sub(r"w?c\d{4}", "*", a) for a in answers.values()})
    unreadable = set(_UNREADABLE.findall(log))
    return {name: name not in unreadable for name in names}
