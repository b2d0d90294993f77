"""SARIF 2.1.0 (docs.oasis-open.org/sarif), for code scanning services and editors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import generator
from generator.findings import Finding
from generator.reports import split
from generator.rules import all_rules


def write(findings: Sequence[Finding], models: int) -> str:
    """One run of the tool, with every rule that found something."""
    used = sorted({(f.rule, f.source) for f in findings})
    order = {rule: index for index, (rule, _) in enumerate(used)}
    driver = {
        "name": "triton-repo check",
        "version": generator.__version__,
        "rules": [_rule(rule, source) for rule, source in used],
    }
    run = {
        "tool": {"driver": driver},
        "results": [_result(f, order[f.rule]) for f in findings],
        "columnKind": "unicodeCodePoints",
    }
    schema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(name: str, source: str) -> dict[str, Any]:
    summary = next((rule.summary for rule in all_rules() if rule.id == name), name)
    return {"id": name, "shortDescription": {"text": summary}, "help": {"text": f"Follows {source}." if source else summary}}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    path, line = split(finding.where)
    place = f"{finding.model}: {finding.field}" if finding.field else finding.model
    text = f"{place}: found {finding.found}; expected {finding.expected}; {finding.remedy}"
    location = {"artifactLocation": {"uri": Path(path).as_posix()}, "region": {"startLine": line}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": text},
        "locations": [{"physicalLocation": location, "logicalLocations": [{"name": finding.model, "kind": "module"}]}],
    }
