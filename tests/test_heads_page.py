"""docs/heads.md is made from the classes, and says of every head whether something stands behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import script

from generator.heads import Head
from generator.plugin import family


@pytest.fixture
def table(root: Path) -> Any:
    return script(root, "heads_table")


def test_the_page_is_current(table: Any) -> None:
    text = table.PATH.read_text()
    assert text == table.page(text), "run: python scripts/heads_table.py"


def test_every_head_has_a_row_and_a_section_and_names_its_source(table: Any) -> None:
    text = table.PATH.read_text()
    for kind, cls in family("generator.heads").items():
        assert issubclass(cls, Head)
        row = re.search(rf"^\| \[`{kind}`\]\(#{kind}\) \|.*\|$", text, re.M)
        assert row, kind
        assert (cls.proven_by or "**unproven**") in row.group()
        section = text.partition(f"\n### {kind}\n")[2].partition("\n### ")[0]
        assert "arXiv" in section or "http" in section, f"{kind}: the source of its formula"


def test_a_head_without_a_proof_reads_unproven(table: Any) -> None:
    class Guess(Head):
        """Anything."""

        kind: str = "guess"

    assert table._row(Guess).endswith("| no | **unproven** |")


def test_a_page_without_marks_is_refused(table: Any) -> None:
    with pytest.raises(ValueError, match="expected the marks"):
        table.page("# Heads\n")


def test_the_example_is_a_spec(table: Any, tmp_path: Path) -> None:
    from generator.load import load

    (tmp_path / "m.onnx").write_bytes(b"")
    block = re.search(r"```yaml\n(.*?)```", table.PATH.read_text(), re.S)
    assert block
    assert set(yaml.safe_load(block.group(1))) == {"head", "nms"}
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint: {kind: onnx, file: m.onnx}\n" + block.group(1))
    assert load(tmp_path / "s.yaml").head is not None
