"""A hand-made model repository -> a spec a model, from which `triton-repo build` makes the same repository again.

Comments of the old config.pbtxt are not carried over; everything the server reads is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generator import config_block, pbtxt
from generator.errors import RepositoryError

#: The first words of a spec that we wrote, so that a second import may replace it.
MARK = "# Imported by triton-repo from "


def specs(repository: Path, output: Path, only: Sequence[str] = ()) -> dict[Path, str]:
    """The text of each spec by the file it belongs in. Reads only.

    Raises RepositoryError where the repository holds no model, where a config cannot be read (every one is named), where
    `only` names a model that is not there, and where a spec would replace a file that is not ours.
    """
    folders = _folders(repository, only)
    texts, problems = {}, []
    for folder in folders:
        target = output / f"{folder.name}.yaml"
        try:
            _free(target)
            texts[target] = _text(folder, output)
        except RepositoryError as error:
            problems.append(str(error))
    if problems:
        raise RepositoryError("\n".join(problems))
    return texts


def write(texts: Mapping[Path, str]) -> None:
    """Write them all. Raises RepositoryError where the folder cannot be written."""
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            staged = path.with_name(f".{path.name}.{os.getpid()}")
            staged.write_text(text, encoding="utf-8")
            staged.replace(path)
        except OSError as error:
            raise RepositoryError(f"{path}: {error.strerror}", "name another folder with -o") from None


def _folders(repository: Path, only: Sequence[str]) -> list[Path]:
    if not repository.is_dir():
        raise RepositoryError(f"{repository}: no such folder", "name a model repository: a folder of model folders")
    found = {path.name: path for path in sorted(repository.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if not found:
        raise RepositoryError(f"{repository}: holds no model folder", "name the folder that holds the model folders")
    if missing := [name for name in only if name not in found]:
        raise RepositoryError(f"{repository}: holds no model {missing[0]!r}", f"it holds {', '.join(found)}")
    return [path for name, path in found.items() if not only or name in only]


def _free(target: Path) -> None:
    if target.exists() and not target.read_bytes().startswith(MARK.encode()):
        raise RepositoryError(f"{target} is there and was not imported", "name another folder with -o, or move it away")


def _text(folder: Path, output: Path) -> str:
    said: dict[str, Any] = {"name": folder.name, "folder": os.path.relpath(folder.resolve(), output.resolve())}
    if (folder / "config.pbtxt").is_file():
        said["config"] = config_block.as_yaml(pbtxt.read(folder / "config.pbtxt"))
    body = config_block.dump(said)
    return f"{MARK}{said['folder']}; its files are copied, its config.pbtxt is written from `config`.\n{body}"
