"""The checker's verdict is the real server's, on repositories that hypothesis breaks (report: benchmarks/check_agreement.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from differential.collect import collect
from differential.verdicts import Verdict, judge

#: Disagreements that are known, by words of the server's reason, each with why it stays. None so far.
KNOWN: dict[str, str] = {}


def _unexplained(verdicts: list[Verdict]) -> list[str]:
    return [str(v) for v in verdicts if not v.agree and not any(words in v.reason for words in KNOWN)]


def test_a_few_cases_agree(tmp_path: Path) -> None:
    verdicts = judge(collect(60, 20260601), tmp_path, strict=True)
    assert _unexplained(verdicts) == []
    assert 10 < sum(v.loaded for v in verdicts) < 50  # both verdicts occur


@pytest.mark.full
@pytest.mark.timeout(900)
def test_two_thousand_cases_agree(tmp_path: Path) -> None:
    verdicts = judge(collect(2000, 20261121), tmp_path, strict=True)
    loaded = sum(v.loaded for v in verdicts)
    print(f"{sum(v.agree for v in verdicts)} of {len(verdicts)} verdicts agree; the server loads {loaded}")
    assert len(verdicts) == 2000
    assert 400 < loaded < 1600
    assert len({f.rule for v in verdicts for f in v.findings}) >= 25
    assert _unexplained(verdicts) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_server_that_completes_configs_agrees(tmp_path: Path) -> None:
    verdicts = judge(collect(120, 4), tmp_path, strict=False)
    assert _unexplained(verdicts) == []
