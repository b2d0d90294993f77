"""How many public architectures go through `build` with no user code, and are the same model afterwards?

    python benchmarks/conversion.py               continues where the last run ended
    python benchmarks/conversion.py --again NAME  does these variants once more (`--all` every one)

Reads benchmarks/conversion_list.yaml; writes docs/conversion.json after each row and docs/conversion.md from it. Needs timm,
torchvision and transformers beside the project. Each row is a process of its own; nothing is fetched.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import yaml

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "timm", "torchvision", "transformers")
#: The rate that is aimed at.
TARGET = 0.95

_HEAD = """\
Made by `benchmarks/conversion.py` from `benchmarks/conversion_list.yaml`, which was committed before the first run. Random
weights, no user code: a spec names the checkpoint, its kind and its model. `triton-repo build` makes the repository, and the
final graph in ONNX Runtime is held against the library's own model at batch sizes 1 and 3, on other inputs (and, where axes
are free, other lengths) than the export saw. Passed: every value within 1e-4 + 1e-4 of its size, on outputs that differ from
row to row by more than thirty times the largest difference. torchvision's detectors are held against torchvision's own layers
and anchors up to boxes (as fractions of the input) and scores; tests/test_torchvision_frontend.py holds the detections.
In pixels, the boxes of ssdlite320 were 0.002 apart and beyond the bound, as far as torch's own float32 is from its float64
(0.0017); since then they are fractions. Recurrent layers of `torch.export` archives have a fixed length: that is how
torch.export leaves them.

Seconds are of `triton-repo build` on two cores that other work shared. The rows were made over two hours in which the
exporter was still worked on, each with the code of its minute; what was mended for a row was mended for all.""".splitlines()

Entry = Mapping[str, Any]
Rows = dict[str, dict[str, Any]]


def entries() -> list[Entry]:
    """The list, each entry with its area. Raises ValueError where it has become too short, or a family has three variants."""
    said: Mapping[str, Sequence[Entry]] = yaml.safe_load((HERE / "conversion_list.yaml").read_text(encoding="utf-8"))
    found: list[Entry] = [{"area": area, **entry} for area, group in said.items() for entry in group]
    families = [entry["family"] for entry in found]
    most = max(families.count(family) for family in families)
    if len(found) < 60 or len(set(families)) < 30 or most > 2 or len({entry["variant"] for entry in found}) < len(found):
        raise ValueError(f"{len(found)} entries of {len(set(families))} families, at most {most} of one: not as it is to be")
    return found


def converted(entry: Entry, seconds: float) -> dict[str, Any]:
    """One row, made in a process of its own that has this long."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conversion-") as scratch:
        folder = Path(scratch)
        (folder / "entry.json").write_text(json.dumps(entry), encoding="utf-8")
        command = [sys.executable, str(HERE / "conversion_entry.py"), str(folder / "entry.json"), scratch]
        paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = {**os.environ, "TRITON_REPO_CACHE": str(folder / "cache"), "PYTHONPATH": paths}
        log = (folder / "log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return {
                "result": "failed",
                "reason": f"took longer than {seconds:.0f} s",
                "seconds": round(time.monotonic() - began, 1),
            }
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if (row := folder / "row.json").exists():
            found: dict[str, Any] = json.loads(row.read_text(encoding="utf-8"))
            return found
        lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        last = (lines or ["no word"])[-1]
        return {"result": "failed", "reason": f"the benchmark itself ended with {process.returncode}: {last}"}


def page(listed: Sequence[Entry], rows: Rows) -> str:
    """docs/conversion.md."""
    done = [(entry, rows[entry["variant"]]) for entry in listed if entry["variant"] in rows]
    passed = sum(row["result"] == "passed" for _, row in done)
    versions = sorted({row["versions"] for _, row in done})
    summary = [
        f"**{passed} of {len(done)}** ({passed / max(len(done), 1):.1%}) went through; the target is {TARGET:.0%}.",
        *([f"{len(listed) - len(done)} of the list are not done yet."] if len(done) < len(listed) else []),
    ]
    return "\n".join([
        "# Conversion of public architectures", "", *_HEAD, "", *summary, "",
        *(f"Versions: {version}." for version in versions), "",
        *_failures(done),
        *(line for area in dict.fromkeys(entry["area"] for entry, _ in done) for line in _table(area, done)),
    ])  # fmt: skip


def _failures(done: Sequence[tuple[Entry, Mapping[str, Any]]]) -> list[str]:
    failed = [(entry, row) for entry, row in done if row["result"] != "passed"]
    lines = [f"- {entry['variant']} ({entry['library']}): {_cell(row['reason'])}" for entry, row in failed]
    return ["## What failed, and why", "", *lines, ""] if failed else []


def _table(area: str, done: Sequence[tuple[Entry, Mapping[str, Any]]]) -> Iterator[str]:
    yield from (f"## {area.capitalize()}", "")
    yield "| family | variant | library | parameters | exporter | opset | largest difference, batch 1 | batch 3 | result | s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for entry, row in (pair for pair in done if pair[0]["area"] == area):
        numbers = row.get("differences", {})
        cells = [
            entry["family"], entry["variant"], entry["library"], f"{row['parameters']:,}" if "parameters" in row else "",
            row.get("exporter", ""), row.get("opset", ""), *(numbers.get(batch, "") for batch in ("1", "3")),
            row["result"], row.get("seconds", ""),
        ]  # fmt: skip
        yield f"| {' | '.join(_cell(str(cell)) for cell in cells)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")[:700]


@click.command()
@click.option("--again", multiple=True, help="A variant that is done once more.")
@click.option("--all", "every", is_flag=True, help="Begin anew.")
@click.option("--only", help="Only entries of these libraries, separated by commas.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds for each.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="The folder of the page and of its JSON.")
def main(*, again: tuple[str, ...], every: bool, only: str | None, timeout: float, docs: Path) -> None:
    """Convert what is not done yet, and write the page. Ends with 1 where the rate is below the target."""
    store, listed = docs / "conversion.json", entries()
    rows: Rows = {} if every or not store.exists() else json.loads(store.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    for entry in listed:
        name = entry["variant"]
        if (name in rows and name not in again) or (only and entry["library"] not in only.split(",")):
            continue
        rows[name] = {**converted(entry, timeout), "versions": versions}
        print(f"{name}: {rows[name]['result']} {rows[name].get('reason', '')}"[:600], flush=True)
        store.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        (docs / "conversion.md").write_text(page(listed, rows), encoding="utf-8")
    (docs / "conversion.md").write_text(page(listed, rows), encoding="utf-8")
    passed = sum(rows.get(entry["variant"], {}).get("result") == "passed" for entry in listed)
    print(f"{passed} of {len(listed)} passed")
    sys.exit(0 if passed >= TARGET * len(listed) else 1)


if __name__ == "__main__":
    main()
