"""model_repository/triton-repo.lock: what we wrote, from what, with which tools. Written last; Triton passes over plain files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from generator.errors import RepositoryError

NAME = "triton-repo.lock"
_FORMAT = 1


@dataclass
class Entry:
    """One pipeline: the parts of its steps, its model folders, and the digest of every file in them.

    A file's path says which version it belongs to (`MODEL/VERSION/...`); all others belong to the model.
    """

    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    #: Version -> key of the step that made its graph; what of an earlier build was kept has that build's key.
    versions: dict[str, str] = field(default_factory=dict)


def read(repository: Path) -> dict[str, Entry]:
    """Entries by pipeline; empty where there is no lock. Raises RepositoryError for one that is not ours."""
    path = repository / NAME
    if not path.exists():
        return {}
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise _not_ours(str(path), error) from None


def parse(source: str, where: str) -> dict[str, Entry]:
    """Entries by pipeline. Raises RepositoryError for what is no lock of ours, and for names that would leave the repository."""
    try:
        data = json.loads(source)
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']}, expected {_FORMAT}")
        entries = {name: Entry(**entry) for name, entry in data["pipelines"].items()}
        for entry in entries.values():
            _check(entry)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _not_ours(where, error) from None
    return entries


def servers(repository: Path) -> dict[str, tuple[int, ...]]:
    """Model -> the oldest server that must load it, as its spec said. Raises what `read` does."""
    found: dict[str, tuple[int, ...]] = {}
    for entry in read(repository).values():
        try:
            said = json.loads(entry.steps["repository"]["serving"])["server"]
        except (KeyError, ValueError, TypeError):
            continue  # a folder that was only copied
        found |= dict.fromkeys(entry.models, tuple(said))
    return found


def version(file: str) -> int | None:
    """The version that a path of `Entry.files` belongs to; None for what belongs to the model."""
    parts = file.split("/")
    number = parts[1] if len(parts) > 2 else ""
    return int(number) if number.isascii() and number.isdigit() and (number == "0" or number[0] != "0") else None


def _not_ours(where: str, error: Exception) -> RepositoryError:
    return RepositoryError(f"{where}: not a lock of this version: {error}", "delete the folder's content and build again")


def _check(entry: Entry) -> None:
    """What is read from a lock is renamed, uploaded and deleted: nothing in it may point out of its model folders."""
    texts: list[dict[Any, Any]] = [entry.files, entry.facts, entry.versions]
    if not all(isinstance(k, str) and isinstance(v, str) for mapping in texts for k, v in mapping.items()):
        raise ValueError("files, facts and versions map text to text")
    for name in entry.models:
        if not isinstance(name, str) or "/" in name or not _inside(name):
            raise ValueError(f"{name!r} is no name of a model folder")
    for file in entry.files:
        folder, *rest = file.split("/")
        if folder not in entry.models or not rest or not all(map(_inside, rest)):
            raise ValueError(f"{file!r} is no file of its models")


def _inside(part: str) -> bool:
    return part not in ("", ".", "..") and "\0" not in part


def text(entries: dict[str, Entry]) -> str:
    """The lock as it is written: sorted, one value a line, so that a diff of it reads well."""
    body = {"format": _FORMAT, "pipelines": {name: asdict(entry) for name, entry in sorted(entries.items())}}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"
