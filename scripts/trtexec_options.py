"""Writes generator/trtexec_options.json: every option of trtexec that its help tells of, and the TensorRT versions that have it.

    python scripts/trtexec_options.py /work/.mirror/NVIDIA+TensorRT/repo

Read from samples/common/sampleOptions.cpp on each branch release/10.* and release/11.*: an option counts where the help has it
and the parser takes it. `line` is that of the help text on the last of these branches.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "generator" / "trtexec_options.json"
FILE = "samples/common/sampleOptions.cpp"
URL = "https://github.com/NVIDIA/TensorRT/blob/release/{version}/" + FILE
_BRANCH = re.compile(r"(?:^|/)release/(1[01]\.\d+)$")
_HELP = re.compile(r'"  (--[A-Za-z0-9]+)')
_PARSED = re.compile(r'"(--[A-Za-z0-9]+)"')


def options(repository: str) -> dict[str, dict[str, str | int]]:
    """Option -> its first and last version, and the line of its help in the last."""
    branches = _git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes").split()
    versions = sorted({found[1]: name for name in branches if (found := _BRANCH.search(name))}.items(), key=_number)
    known: dict[str, dict[str, str | int]] = {}
    for version, branch in versions:
        text = _git(repository, "show", f"{branch}:{FILE}")
        parsed = set(_PARSED.findall(text))
        for number, line in enumerate(text.splitlines(), 1):
            for option in (name for name in _HELP.findall(line) if name in parsed):
                entry = known.setdefault(option, {"first": version, "last": version, "line": number})
                if entry["last"] != version:
                    entry |= {"last": version, "line": number}
    return dict(sorted(known.items()))


def _number(item: tuple[str, str]) -> tuple[int, ...]:
    return tuple(map(int, item[0].split(".")))


def _git(repository: str, *arguments: str) -> str:
    return subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    made = {"source": URL, "options": options(sys.argv[1])}
    TARGET.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
