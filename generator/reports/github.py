"""Annotations for GitHub Actions (docs.github.com, "Workflow commands"): shown at the line in a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from generator.findings import Finding
from generator.reports import split


def write(findings: Sequence[Finding], models: int) -> str:
    """A `::error` or `::warning` line a finding."""
    return "\n".join(map(_one, findings))


def _one(finding: Finding) -> str:
    path, line = split(finding.where)
    place = f"{finding.model}: {finding.field}" if finding.field else finding.model
    message = f"{place}: found {finding.found}; expected {finding.expected}; {finding.remedy}"
    properties = f"file={_property(path)},line={line},title={_property(finding.rule)}"
    return f"::{finding.level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
