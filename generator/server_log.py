"""What a tritonserver that did not start says about it, boiled down to the model and the reason."""

from __future__ import annotations

import re

from generator.errors import ServerError

#: The lines that name a model: a version failed to load, a folder or config was refused, an ensemble is incomplete.
_MODEL = (
    re.compile(r"failed to load '(?P<name>[^']+)' version \d+: (?P<reason>.*)"),
    re.compile(r"Poll failed for model directory '(?P<name>[^']+)': (?P<reason>.*)"),
    re.compile(r"failed to load model '(?P<name>[^']+)': (?P<reason>.*)"),
    re.compile(r"(?P<reason>ensemble '?(?P<name>[\w.-]+)'? (?:depends on|contains|has).*)"),
)
_SYNTAX = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<reason>.*)")
_PREFIX = re.compile(r"^[EWI]\d{4} [\d:.]+ \d+ [\w.]+:\d+\]\s*")


def failures(log: str) -> dict[str, str]:
    """model -> the server's reason, in the order of the log; the first reason of a model is the real one."""
    found: dict[str, str] = {}
    syntax = ""
    for line in _lines(log):
        if match := _SYNTAX.search(line):
            syntax = match["reason"]  # comes just before the line that names the model
        for pattern in _MODEL:
            if match := pattern.search(line):
                unread = syntax and "text proto" in match["reason"]
                reason = match["reason"].rstrip('"') + (f": {syntax.rstrip('.')}" if unread else "")
                found.setdefault(match["name"], _plain(match["name"], _short(reason)))
                break
    return found


def last(log: str) -> str:
    """The last line that says something."""
    lines = [line for line in _lines(log) if line.strip(" |+-")]
    return _short(lines[-1]) if lines else "nothing"


def failure(log: str, status: int) -> ServerError:
    """The error for a server that ended with exit `status` before it was ready."""
    if found := failures(log):
        text = "; ".join(f"model '{name}': {reason}" for name, reason in found.items())
        return ServerError(f"the server could not load {text}", "correct what the reason names and start again")
    for line in _lines(log):
        if re.search(r"already in use|Address already in use", line):
            return ServerError(f"a port of the server is already in use: {_short(line)}", "choose other ports")
    errors = [line for line in _lines(log) if re.match(r"error:|E\d{4}", line)] or _lines(log)[-1:]
    reason = _short(_PREFIX.sub("", errors[-1])) if errors else "it wrote nothing"
    return ServerError(f"tritonserver ended with status {status}: {reason}", "run `triton-repo doctor`")


def _plain(name: str, reason: str) -> str:
    """The reason without the server's error class and without the model's name, which is said already."""
    return re.sub(rf"^(?:\w[\w ]*: )?(?:TritonModelException: )?(?:model '{re.escape(name)}',? )?", "", reason)


def _lines(log: str) -> list[str]:
    return [line.rstrip() for line in log.splitlines() if line.strip()]


def _short(text: str) -> str:
    """One line, without the log's quotes, without a Python traceback, at most 600 characters."""
    text = _PREFIX.sub("", text).strip().strip('"').replace('\\"', '"')
    text = re.split(r"\\n\\nAt:|\\nAt:", text)[0]
    return re.sub(r"\s+", " ", text.replace("\\n", " "))[:600].strip()
