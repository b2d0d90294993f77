"""What NVIDIA's parser and builder said of a node, in words: short, and with the module that the node came from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import NodeProto

#: Where torch's exporter leaves the module's path: a list, the outermost first, the node's own name last.
_SCOPES = "pkg.torch.onnx.name_scopes"
_MOST = 240


def module(node: NodeProto) -> str:
    """`backbone.layer1.conv`: from the exporter's metadata, else from a node name with slashes; empty where neither says it."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                scopes = [scope for scope in ast.literal_eval(entry.value) if scope]
            except (ValueError, SyntaxError):
                continue
            return scopes[-2] if len(scopes) > 1 else ""
    path = node.name.split("/")
    return ".".join(path[1:-1]) if node.name.startswith("/") and len(path) > 2 else ""


def described(node: NodeProto) -> str:
    """`GridSample (module neck.warp)`; a domain of its own is named."""
    own = f" of domain {node.domain}" if node.domain not in ("", "ai.onnx") else ""
    where = f" (module {found})" if (found := module(node)) else ""
    return f"{node.op_type}{own}{where}"


def short(reason: str) -> str:
    """Of an assertion its sentence; of the builder its own words, without the places in its sources."""
    if reason.strip() in ("", "false"):
        return "not supported"
    sentence = re.search(r'&&\s*((?:"[^"]*"\s*)+)', reason)
    text = sentence[1].replace('"', "") if sentence else reason.replace("Assertion failed: ", "")
    condition, _, said = text.partition(": ")
    if said and (re.search(r"[()=&|<>]|->|\w\.\w", condition) or re.fullmatch(r"\w+", condition)):
        text = said
    text = re.sub(r"\bIn \w+ at \S+:\d+\)?|\[\w+\.cpp::\w+::\d+\]|IBuilder::\w+: |Error Code 1: Cuda Runtime.*", "", text)
    return _clipped(re.sub(r"\s+", " ", text).strip(" /)"))


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 2]} …"


def mentioned(messages: Iterable[str], names: Iterable[str]) -> list[str]:
    """The nodes that messages speak of, the longest names first: a layer is called as the node that it came from."""
    text, found = " ".join(messages), []
    for name in sorted(names, key=len, reverse=True):
        pattern = rf"(?<![\w./#]){re.escape(name)}(?![\w#])"
        if len(name) > 2 and re.search(pattern, text):
            found.append(name)
            text = re.sub(pattern, " ", text)
    return found


def of_operators(messages: Iterable[str], nodes: Mapping[str, NodeProto]) -> list[str]:
    """Where no node is named but one operator of the graph is, the nodes of that operator."""
    text = " ".join(messages)
    kinds = {node.op_type for node in nodes.values() if len(node.op_type) > 4 and re.search(rf"\b{node.op_type}\b", text)}
    return [name for name, node in nodes.items() if node.op_type in kinds] if len(kinds) == 1 else []
