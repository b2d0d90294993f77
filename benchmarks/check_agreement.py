"""How often the checker and the real server agree on broken repositories. `python benchmarks/check_agreement.py --cases 2000`.

Prints the figure and every disagreement, and writes docs/differential.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from differential.collect import collect  # noqa: E402 -- the tests' package
from differential.verdicts import SERVER, Verdict, judge  # noqa: E402


def report(verdicts: list[Verdict], seed: int) -> str:
    """The page, as Markdown."""
    agree = sum(v.agree for v in verdicts)
    rows = [
        ("cases", len(verdicts)),
        ("verdicts that agree", f"{agree} ({agree / len(verdicts):.2%})"),
        ("the server loads", sum(v.loaded for v in verdicts)),
        ("the server refuses, the checker finds nothing", sum(not v.loaded and v.passed for v in verdicts)),
        ("the server loads, the checker finds an error", sum(v.loaded and not v.passed for v in verdicts)),
    ]
    rules = Counter(rule for v in verdicts for rule in {f.rule for f in v.findings})
    told = [str(v) for v in verdicts if not v.agree]
    return "\n".join([
        "# The checker against the real server", "",
        f"Made by `benchmarks/check_agreement.py --cases {len(verdicts)} --seed {seed}`: hypothesis breaks valid repositories in",
        f"one or two places (none in some), tritonserver {'.'.join(map(str, SERVER))} loads each in explicit mode with",
        "`--disable-auto-complete-config`, and its verdict is held against that of `triton-repo check`.", "",
        "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), "",
        "## Disagreements", "", *(["None."] if not told else ["```text", *told, "```"]), "",
        "## Rules that spoke", "", "| rule | cases |", "|---|---|",
        *(f"| `{name}` | {count} |" for name, count in sorted(rules.items())), "",
        "Disagreements are mended in a later commit, and the next run takes a new seed: no figure here is of cases",
        "known before.", "",
        "Not mutated: repository agents (libraries of the server), a python model's `default_model_filename` and a missing",
        "model.py (server 2.51 never answers such a load; `tests/test_rules_files.py` shows it once), and fields later than 2.51",
        "(`tests/test_field_versions.py`).",
        "",
    ])  # fmt: skip


@click.command()
@click.option("--cases", default=2000, show_default=True)
@click.option("--seed", default=20261121, show_default=True)
def main(cases: int, seed: int) -> None:
    """Collect, judge, report."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        verdicts = judge(collect(cases, seed), Path(folder), strict=True)
    text = report(verdicts, seed)
    (ROOT / "docs" / "differential.md").write_text(text, encoding="utf-8")
    click.echo(text)
    click.echo(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
