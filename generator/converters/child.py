"""The process of a converter: loads a checkpoint once, then does what it is asked for, line by line, until its input ends.

`python from_xgboost.py`, in the converter's own environment, without the package `generator`. A question is a line of JSON on
stdin, its answer a line of JSON where stdout was; what the libraries print goes to stderr. Arrays travel in .npz files.
`export` writes the ONNX file, `answer` asks the framework, `ranges` says which values are worth trying (by default nothing).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any


class Refused(Exception):  # noqa: N818 -- it is no fault of ours
    """The checkpoint is not what the spec says of it: what was found, and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def serve(**actions: Callable[..., dict[str, Any]]) -> None:
    """Answer questions such as `{"do": "export", "said": {...}, ...}`: each key but `do` is an argument of the action."""
    actions.setdefault("ranges", lambda **_: {})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        task = json.loads(line)
        answers.write(json.dumps(_done(actions[task.pop("do")], task)) + "\n")
        answers.flush()


def _done(action: Callable[..., dict[str, Any]], task: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"done": action(**task)}
    except Refused as refused:
        return {"refused": refused.message, "remedy": refused.remedy}
    except Exception as error:
        traceback.print_exc()
        return {"failed": short(error)}


def short(error: BaseException) -> str:
    """The error's type and its first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines and lines[0].endswith(":") else "".join(lines[:1])  # "in user code:" says nothing
    return f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__


def read(path: str) -> dict[str, Any]:
    """Arrays by name, from an .npz file without pickles."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write(path: str, arrays: dict[str, Any]) -> None:
    """Arrays by name; texts as texts."""
    import numpy as np

    flat = {name: np.asarray(values) for name, values in arrays.items()}
    with open(path, "wb") as file:  # noqa: PTH123 -- one import less
        np.savez(file, **{name: values.astype(np.str_) if values.dtype == object else values for name, values in flat.items()})


def rename(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give the graph's inputs and outputs other names, in this order; their first free axis is the batch."""
    graph = model.graph
    constants = {init.name for init in graph.initializer}
    taken = [value for value in graph.input if value.name not in constants]
    if (len(taken), len(graph.output)) != (len(inputs), len(outputs)):
        found = f"{len(taken)} inputs and {len(graph.output)} outputs"
        raise Refused(f"the converter made {found}; expected {len(inputs)} and {len(outputs)}", "")
    new = dict(zip([v.name for v in taken] + [v.name for v in graph.output], [*inputs, *outputs], strict=True))
    clashing = {name for node in graph.node for name in node.output} & (set(new.values()) - set(new))
    new.update({name: f"{name}/inner" for name in clashing})
    for value in (*taken, *graph.output, *graph.value_info):
        value.name = new.get(value.name, value.name)
    _rename_inside(graph, new)


def _rename_inside(graph: Any, new: dict[str, str]) -> None:
    """Also in the bodies of If, Loop and Scan, which see the names outside."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_inside(inner, new)
