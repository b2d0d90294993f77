"""What an export told of a checkpoint that does not say its inputs and outputs beforehand, on file and between processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter

from generator.frontends import Interface
from generator.heads import Head
from generator.pipeline import Learned
from generator.plugin import Choice

#: The fact of an export that holds its head, as JSON.
HEAD = "head"


def read(file: Path, head: str) -> Learned:
    """From the exported graph, and the head as JSON ("" where it told none)."""
    from generator.graph import interface, load

    inputs, outputs = interface(load(file, weights=False), named=True)
    return Learned(file, Interface(inputs, outputs, parsed(head) if head else None))


def parsed(head: str) -> Head:
    """A head as it was written down."""
    adapter: TypeAdapter[Head] = TypeAdapter(Annotated[Head, Choice("generator.heads")])
    return adapter.validate_json(head)


def to_json(found: Learned | None) -> dict[str, str] | None:
    """For a child process."""
    if found is None:
        return None
    head = found.interface.head
    return {"file": str(found.file), HEAD: head.model_dump_json() if head else ""}


def from_json(found: dict[str, str] | None) -> Learned | None:
    """In the child process."""
    return read(Path(found["file"]), found[HEAD]) if found else None
