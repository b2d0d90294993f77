"""For a terminal: by model, each finding with its place, what is there, what should be, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import click

from generator.findings import Finding

_COLOURS = {"error": "red", "warning": "yellow"}


def write(findings: Sequence[Finding], models: int) -> str:
    """The whole text. Colours are left out by click where the output is no terminal."""
    parts = []
    for model, found in groupby(sorted(findings, key=lambda f: (f.model, f.level != "error", f.where)), key=lambda f: f.model):
        parts.append(click.style(model, bold=True))
        parts += [_one(finding) for finding in found]
    return "\n".join([*parts, summary(findings, models)])


def _one(finding: Finding) -> str:
    level = click.style(finding.level, fg=_COLOURS[finding.level])
    field = f" {click.style(finding.field, bold=True)}" if finding.field else ""
    return (
        f"  {finding.where}: {level}{field} [{finding.rule}]\n"
        f"    found     {finding.found}\n    expected  {finding.expected}\n    remedy    {finding.remedy}"
    )


def summary(findings: Sequence[Finding], models: int) -> str:
    """`8 models: 1 error, no warnings`."""
    counts = [(sum(f.level == level for f in findings), level) for level in _COLOURS]
    words = ", ".join(f"{count or 'no'} {level}{'' if count == 1 else 's'}" for count, level in counts)
    return f"{models} model{'' if models == 1 else 's'}: {words}"
