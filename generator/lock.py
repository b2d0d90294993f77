"""model_repository/triton-repo.lock: what we wrote, from what, with which tools. Written last; Triton passes over plain files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from generator.errors import RepositoryError

NAME = "triton-repo.lock"
_FORMAT = 1


@dataclass
class Entry:
    """One pipeline: the parts of its steps, its model folders, and the digest of every file in them."""

    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


def read(repository: Path) -> dict[str, Entry]:
    """Entries by pipeline; empty where there is no lock. Raises RepositoryError for one that is not ours."""
    path = repository / NAME
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']}, expected {_FORMAT}")
        return {name: Entry(**entry) for name, entry in data["pipelines"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RepositoryError(
            f"{path}: not a lock of this version: {error}", "delete the folder's content and build again"
        ) from None


def text(entries: dict[str, Entry]) -> str:
    """The lock as it is written: sorted, one value a line, so that a diff of it reads well."""
    body = {"format": _FORMAT, "pipelines": {name: asdict(entry) for name, entry in sorted(entries.items())}}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"
