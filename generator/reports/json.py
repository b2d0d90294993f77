"""A JSON list, one object a finding, and the counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from generator.findings import Finding
from generator.reports import split


def write(findings: Sequence[Finding], models: int) -> str:
    """`{"models": N, "errors": N, "warnings": N, "findings": [...]}`."""
    listed = [{**asdict(f), "file": split(f.where)[0], "line": split(f.where)[1]} for f in findings]
    errors = sum(f.level == "error" for f in findings)
    counts = {"models": models, "errors": errors, "warnings": len(findings) - errors}
    return json.dumps({**counts, "findings": listed}, indent=2)
