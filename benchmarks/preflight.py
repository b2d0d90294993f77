"""What does NVIDIA's parser refuse, of public architectures, of this project's models and of ONNX's operators one by one?

    python benchmarks/preflight.py --graphs FOLDER            judges what is there, makes what is missing
    python benchmarks/preflight.py --graphs FOLDER --no-make  judges what is there

Architectures are those of benchmarks/conversion_list.yaml, random weights; FOLDER keeps their final graphs. Making them needs
timm, torchvision and transformers beside the project; nothing is fetched. Where the remedy for a refused operator is a pass of
ours it is applied, and the graph judged once more. Writes docs/tensorrt_operators.json and docs/tensorrt_operators.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import onnx
import yaml
from preflight_quantised import quantised

from generator import graph, plugin, preflight, preflight_run
from generator.errors import TritonRepoError
from generator.passes import Pass
from generator.preflight_verdict import Graph, Terms, Verdict

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
CAPABILITY = "8.9"

_HEAD = """\
Made by `benchmarks/preflight.py` with the code of `triton-repo check --tensorrt`: TensorRT for RTX {version}, strongly typed
networks, compute capability {capability}, fp32 unless a name says otherwise, batches of 1 to 8, no GPU. Compiled means that an
engine came out; nothing here was run on a GPU.""".splitlines()

Row = dict[str, Any]
Rows = dict[str, Row]


def judged(name: str, path: Path, terms: Terms, scratch: Path, most: int = 8) -> Row:
    """The row of one graph; and what becomes of it when the remedies that are passes are followed."""
    began = time.monotonic()
    verdict = preflight.judge(Graph(name, path.name, path, most), terms)
    row = {**_facts(verdict), "seconds": round(time.monotonic() - began, 1)}
    surgery = [one for refused in verdict.refused for one in refused.remedy.passes(refused.operator)]
    if surgery and all(refused.remedy.surgery for refused in verdict.refused):
        try:
            graph.save(_operated(path, surgery), scratch / "mended.onnx")
            after = _facts(preflight.judge(Graph(name, path.name, scratch / "mended.onnx", most), terms))
        except TritonRepoError as error:
            after = {"failed": str(error)}
        row["mended"] = {"surgery": surgery, **after}
    return row


def _facts(verdict: Verdict) -> Row:
    problems = [(rule, problem.found) for rule, problem in verdict.problems]
    return {
        "parsed": verdict.parsed and not verdict.refused, "compiled": bool(verdict.compiled), "layers": verdict.layers,
        "compile_seconds": sum(verdict.compiled.values()), "sizes": verdict.sizes, "unjudged": verdict.unjudged,
        "refused": [
            {"operator": one.operator, "nodes": len(one.nodes), "first": (one.nodes or [""])[0], "reason": one.reason,
             "remedy": one.remedy.text}
            for one in verdict.refused
        ],
        "other": [f"{rule}: {found}" for rule, found in problems if rule not in ("tensorrt/operator", "tensorrt/not_judged")],
    }  # fmt: skip


def _operated(path: Path, surgery: Sequence[Mapping[str, Any]]) -> onnx.ModelProto:
    kinds, model = plugin.family("generator.passes"), graph.load(path)
    for said in surgery:
        one = kinds[said["kind"]](**said)
        assert isinstance(one, Pass)
        model = one.run(model)
    return model


# --- the graphs ---


def architectures(store: Path, make: bool) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Each entry of the list whose final graph is there, or can be made."""
    said: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load((HERE / "conversion_list.yaml").read_text(encoding="utf-8"))
    for area, group in said.items():
        for entry in group:
            folder = store / entry["variant"].replace(", ", "_").replace(" ", "_")
            path = folder / "final" / "model.onnx"
            if not path.exists() and make and not (folder / "done").exists():
                _make({"area": area, **entry}, folder)
            if path.exists():
                yield {"area": area, **entry}, path


def _make(entry: Mapping[str, Any], folder: Path) -> None:
    """Through the product, in a process of its own; what it says goes to FOLDER/log."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "entry.json").write_text(json.dumps(entry), encoding="utf-8")
    command = [sys.executable, str(HERE / "preflight_graph.py"), str(folder / "entry.json"), str(folder)]
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (folder / "log").open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths}, check=False).returncode
    if not code:
        shutil.copytree(folder / "repository" / "model" / "1", folder / "final")
    (folder / "done").write_text(str(code), encoding="utf-8")


def own(repository: Path) -> Iterator[tuple[str, Path]]:
    """The ONNX files of a repository that was built from this project's specs."""
    for path in sorted(repository.glob("*/1/model.onnx")):
        yield path.parent.parent.name, path


#: In the names of tests: of other numbers than FLOAT.
_OTHERS = ("float16", "bfloat", "int", "double", "float8", "float4")


def operators(folder: Path) -> Iterator[tuple[str, Path]]:
    """For each operator of ONNX's default domain one of ONNX's own tests that holds it alone, with floating-point numbers where
    there is such a test. Inputs after the first are constants with the test's values, as exporters leave them.
    """
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases

    seen: dict[str, Any] = {}
    for case in sorted(collect_testcases(None), key=lambda one: any(word in one.name for word in _OTHERS)):
        nodes = case.model.graph.node if case.model is not None else []
        if len(nodes) == 1 and not nodes[0].domain:
            seen.setdefault(nodes[0].op_type, case)
    for operator, case in sorted(seen.items()):
        path = folder / f"{operator}.onnx"
        onnx.save(_constant(case), path)
        yield operator, path


def _constant(case: Any) -> onnx.ModelProto:
    import numpy as np

    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values = case.data_sets[0][0] if case.data_sets else []
    inputs = list(model.graph.input)
    for value, array in list(zip(inputs, values, strict=False))[1:]:
        if isinstance(array, np.ndarray) and array.dtype != object:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
            model.graph.input.remove(value)
    return model


# --- the page ---


def page(found: Mapping[str, Any]) -> str:
    """docs/tensorrt_operators.md."""
    listed, models, alone = found["architectures"], found["models"], found["operators"]
    whole = sum(_whole(row) for row in listed.values())
    refused = {one["operator"] for row in alone.values() for one in row["refused"] if one["operator"]}
    head = [line.format(version=found["version"], capability=CAPABILITY) for line in _HEAD]
    return "\n".join([
        "# What TensorRT takes", "", *head, "",
        f"**{whole} of {len(listed)}** public architectures compile as they are. Of {len(alone)} operators of ONNX, judged one by"
        f" one, {len(refused)} are refused.", "",
        '"Not judged" is what this build lacks and TensorRT has: NonMaxSuppression is parsed and not built, NonZero and RoiAlign'
        " are cut off; what stands before them compiles. [The pre-flight](preflight.md) says how.", "",
        "## Public architectures", "", *_table(listed), "",
        "## Quantised by ONNX Runtime", "",
        "TensorRT takes pairs of QuantizeLinear and DequantizeLinear (QDQ), symmetric, and none of ONNX's integer operators.",
        "", *_table(found["quantised"]), "",
        "## Models of this project", "", *_table(models), "",
        "## Operators that are refused", "",
        'ONNX\'s own test of each operator, inputs after the first as constants. "With the passes" says whether it compiles once'
        " the remedy's passes are applied.", "", *_operators(alone),
    ])  # fmt: skip


def _whole(row: Row) -> bool:
    return bool(row["compiled"] and not row["refused"] and not row["other"])


def _table(rows: Rows) -> Iterator[str]:
    yield "| model | parsed | compiled | layers | s | refused, and the remedy | not judged |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in rows.items():
        refused = "; ".join(f"{one['operator']} ({one['nodes']}): {one['reason']} -> {one['remedy']}" for one in row["refused"])
        words = "; ".join(text for text in (refused, *row["other"], _after(row)) if text)
        cells = [name, _yes(row["parsed"]), _yes(row["compiled"]), row["layers"], f"{row['compile_seconds']:.1f}", words]
        yield f"| {' | '.join(_cell(cell) for cell in (*cells, ', '.join(row['unjudged'])))} |"


def _operators(rows: Rows) -> Iterator[str]:
    yield "| operator | what the parser or builder says | remedy | with the passes |"
    yield "|---|---|---|---|"
    for name, row in rows.items():
        for one in row["refused"]:
            yield f"| {name} | {_cell(one['reason'])} | {_cell(one['remedy'])} | {_after(row)} |"
        if not row["refused"] and row["unjudged"]:
            yield f"| {name} | not judged by this build | TensorRT has it (onnx-tensorrt, docs/operators.md) | |"


def _after(row: Row) -> str:
    mended = row.get("mended")
    if not mended:
        return ""
    names = ", ".join(f"`{one['kind']}`" for one in mended["surgery"])
    return f"{names}: {'compiles' if mended.get('compiled') and not mended.get('refused') else 'does not compile'}"


def _yes(said: bool) -> str:
    return "yes" if said else "no"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")[:500]


@click.command()
@click.option(
    "--graphs", "store", type=click.Path(path_type=Path), required=True, help="The folder of the architectures' graphs."
)
@click.option("--models", type=click.Path(path_type=Path), help="A repository that was built from the project's specs.")
@click.option("--make/--no-make", default=True, help="Make the graphs that are missing.")
@click.option("--again", is_flag=True, help="Judge what was judged before, too.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="The folder of the page and of its JSON.")
def main(*, store: Path, models: Path | None, make: bool, again: bool, docs: Path) -> None:
    """Judge what is not judged yet, and write the page."""
    terms, kept = Terms(preflight_run.parser(), (CAPABILITY,), 600), docs / "tensorrt_operators.json"
    found: dict[str, Any] = {"version": "", "architectures": {}, "quantised": {}, "models": {}, "operators": {}}
    if kept.exists() and not again:
        found.update(json.loads(kept.read_text(encoding="utf-8")))
    found["version"] = preflight_run.ask(terms.by, preflight_run.Task(""), 120).found["version"]
    with tempfile.TemporaryDirectory(prefix="preflight-") as scratch:
        folder = Path(scratch)
        todo = [("models", name, path, 8) for name, path in (own(models) if models else ())]
        todo += [("quantised", name, path, 8) for name, path in quantised(store, folder)]
        todo += [("operators", name, path, 0) for name, path in operators(folder)]
        listed = (("architectures", entry["variant"], path, 8) for entry, path in architectures(store, make))
        for group, name, path, most in (item for items in (todo, listed) for item in items):
            if name in found[group]:
                continue
            row = found[group][name] = judged(name, path, terms, folder, most)
            print(f"{group} {name}: {'compiled' if row['compiled'] else row['refused'] or row['other']}"[:300], flush=True)
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (docs / "tensorrt_operators.md").write_text(page(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
