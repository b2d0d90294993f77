"""What torch means by its exceptions, in one line: what, which operator, and whose line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from generator.places import Place, named, raised

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: What an exporter says of control flow that depends on values: tracing would freeze one branch.
_BY_VALUE = re.compile(
    r"data-dependent|GuardOnDataDependent|[Dd]ynamic control flow|DYNAMIC_CONTROL_FLOW|[Dd]ata-dependent branching"
)


def chain(error: BaseException) -> list[BaseException]:
    """The exception and what caused it, the root last."""

    def walk(current: BaseException | None) -> Iterator[BaseException]:
        seen: set[int] = set()
        while current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            current = current.__cause__

    return list(walk(error))


def by_value(error: BaseException) -> bool:
    """Did control flow that depends on values stop it?"""
    return any(_BY_VALUE.search(f"{type(each).__name__} {each}") for each in chain(error))


def where(error: BaseException) -> Place | None:
    """The user's line: as the message says, or as the exception came by."""
    for each in reversed(chain(error)):
        said, came = named(str(each)), raised(each)
        if said and came and (said.file, said.line) == (came.file, came.line):
            return came  # it knows the module
        if said or came:
            return said or came
    return None


def operator(error: BaseException) -> str:
    """The operator that has no translation, as `aten.linalg_eig`; nothing where none is missing."""
    for each in chain(error):
        text = str(each)
        if found := re.search(r"OpOverload\(op='([\w.]+)'|Exporting the operator '(\w+::\w+)'", text):
            return (found.group(1) or found.group(2)).replace("::", ".")
    return ""


def reason(error: BaseException) -> str:
    """The first line of the root cause that says something, with the user's line where it is known."""
    said, place = ("what it does depends on values of its inputs" if by_value(error) else _first(chain(error)[-1])), where(error)
    return f"{said} ({place})" if place and f"{place.file}:{place.line}" not in said else said


def _first(root: BaseException) -> str:
    text = _COLOUR.sub("", str(root))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "attribute 'Subgraph' is undefined" in text:  # of a prim::PythonOp
        return "it calls a Python function that has no translation"
    if "[ONNXRuntimeError]" in text:
        lines = [re.sub(r"^.*?\[ONNXRuntimeError\] : \d+ : ", "", " ".join(lines))]
    return (lines[0] if lines else type(root).__name__)[:300].rstrip(":. ")
