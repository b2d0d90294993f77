"""Writes generator/releases.json, container release -> tritonserver version, from the release branches of its repository.

    python scripts/releases.py /work/.mirror/triton-inference-server+server/repo

Each branch rYY.MM holds a file TRITON_VERSION; those before 21.02 have no such number.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "generator" / "releases.json"


def releases(repository: str) -> dict[str, str]:
    """Read them out of a git directory of triton-inference-server/server."""
    branches = _git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes").split()
    found = {}
    for branch in branches:
        name = re.search(r"(?:^|/)r(\d\d\.\d\d)$", branch)
        version = _git(repository, "show", f"{branch}:TRITON_VERSION").strip() if name else ""
        if name and re.fullmatch(r"\d+\.\d+\.\d+", version):
            found[name[1]] = version
    return dict(sorted(found.items()))


def _git(repository: str, *arguments: str) -> str:
    return subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    TARGET.write_text(json.dumps(releases(sys.argv[1]), indent=1) + "\n", encoding="utf-8")
