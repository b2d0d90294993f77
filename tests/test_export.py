"""Exports that cope: which exporter, what it keeps, what it may not freeze, and what a user is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import export_modules
import numpy as np
import onnx
import pytest
import torch
import yaml
from numpy.typing import NDArray

from generator import graph
from generator.cli import run
from generator.errors import ExportError
from generator.frontends.state_dict import StateDict
from generator.inputs import Input

HERE = Path(__file__).parent
MODULES = HERE / "export_modules.py"
X: dict[str, Any] = {"x": ["batch", 4]}
IMAGE: dict[str, Any] = {"image": ["batch", 3, "height", "width"]}
WORDS = {
    "ids": {"dtype": "INT64", "shape": ["batch", "length"], "range": [0, 50]},
    "mask": {"dtype": "BOOL", "shape": ["batch", "length"]},
    "flag": {"dtype": "BOOL", "shape": []},
    "weight": {"shape": [], "range": [-2, 2], "example": 0.5},
}
SIGNED: dict[str, Any] = {"x": {"shape": ["batch", 4], "range": [-1, 1]}}
#: What a decision over all rows takes: rows of one request, which Triton must not mix with another's.
WHOLE: dict[str, Any] = {"x": {"shape": ["rows", 4], "range": [-1, 1]}}

#: Module -> what the spec says of it, and how the answer to "which exporter" begins.
TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "Plain": ({"inputs": IMAGE, "outputs": {"half": ["batch", 3, "rows", "columns"]}}, "dynamo"),
    "Branch": ({"inputs": WHOLE}, "script (refused before: dynamo: what it does depends on values of its inputs"),
    "Repeat": ({"inputs": WHOLE}, "script (refused"),
    "Gated": ({"inputs": WHOLE}, "script of branch, the rest traced (refused"),
    "Chosen": ({"inputs": WHOLE}, "dynamo"),
    "Even": ({"inputs": IMAGE, "axes": {"height": {"min": 2, "max": 60, "multiple_of": 2}, "width": [96, 96]}}, "dynamo"),
    "Several": ({"inputs": WORDS, "outputs": ["scaled", "total"]}, "dynamo"),
    "Nested": ({"inputs": SIGNED, "outputs": ["again", "input", "answer_boxes_scores", "answer_levels_1_p"]}, "dynamo"),
    "Ragged": ({"inputs": X}, "dynamo"),
    "CustomOp": ({"inputs": SIGNED, "translations": "export_modules.py:softsign_for_dynamo"}, "dynamo"),
    "CustomFunction": ({"inputs": SIGNED}, "trace (refused"),
}
#: The same module said in another way.
OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "custom_op_for_torchscript": (
        "CustomOp",
        {"inputs": SIGNED, "translations": "export_modules.py:softsign_for_torchscript"},
        "trace (refused",
    ),
    "branch_by_word": ("Branch", {"inputs": WHOLE, "exporter": "script"}, "script"),
    "nested_by_word": ("Nested", {**TAKEN["Nested"][0], "exporter": "trace"}, "trace"),
    "plain_by_word": ("Plain", {"inputs": IMAGE, "exporter": "trace"}, "trace"),
}
CASES = {name.lower(): (name, said, how) for name, (said, how) in TAKEN.items()} | OTHERS


def said(folder: Path, module: str, more: dict[str, Any]) -> dict[str, Any]:
    """What a spec would say under `checkpoint:`."""
    weights = folder / f"{module}.pt"
    torch.save(getattr(export_modules, module)().state_dict(), weights)
    translations = {"translations": f"{HERE}/{more['translations']}"} if "translations" in more else {}
    return {"kind": "state_dict", "weights": str(weights), "factory": f"{MODULES}:{module}", **more, **translations}


def frontend(folder: Path, module: str, **more: Any) -> StateDict:
    return StateDict.model_validate(said(folder, module, more), context={"base": HERE})


def others(front: StateDict) -> list[dict[str, NDArray[Any]]]:
    """Inputs that the export did not see: both signs, other rows, other lengths."""
    random, found = np.random.default_rng(7), []
    for rows, length, sign in ((5, 10, -1.0), (1, 58, 1.0)):
        lengths = {"batch": rows, "rows": rows, "height": length, "width": 96, "length": length}
        values = {name: one.values(random, lengths) for name, one in front.taken().items()}
        found.append({n: np.asarray(np.abs(v) * sign, v.dtype) if v.dtype == np.float32 else v for n, v in values.items()})
    return found


def held(front: StateDict, path: Path) -> None:
    """The graph against the module itself, at sizes and values that the export did not see."""
    session = graph.session(path)
    for feeds in others(front):
        wanted, _ = front.answer(feeds)
        found = graph.run(session, feeds)
        assert list(found) == list(wanted)
        for name, values in wanted.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_what_is_exported_answers_as_the_module(tmp_path: Path, case: str) -> None:
    module, more, how = CASES[case]
    front = frontend(tmp_path, module, **more)
    facts = front.export(18, tmp_path / "m.onnx")
    assert facts["exporter"].startswith(how)
    graph.checked(graph.load(tmp_path / "m.onnx"), "export")
    held(front, tmp_path / "m.onnx")


def test_the_branch_is_in_the_graph_and_not_frozen(tmp_path: Path) -> None:
    front = frontend(tmp_path, "Branch", inputs=SIGNED, exporter="script")
    front.export(18, tmp_path / "m.onnx")
    assert "If" in {node.op_type for node in graph.load(tmp_path / "m.onnx").graph.node}
    up, down = (front.answer({"x": np.full((1, 4), value, np.float32)})[0]["output"] for value in (1.0, -1.0))
    assert up.tolist() == [[1.5] * 4]
    assert down.tolist() == [[-11.0] * 4]


def test_a_trace_that_was_asked_for_says_what_it_froze(tmp_path: Path) -> None:
    facts = frontend(tmp_path, "Branch", inputs=X, exporter="trace").export(18, tmp_path / "m.onnx")
    assert facts["exporter"] == "trace"
    assert facts["frozen as for the example"] == f"{MODULES}:{line('if bool(x.mean() > 0)')} in Branch: `if bool(x.mean() > 0):`"


def line(code: str) -> int:
    return next(number for number, text in enumerate(MODULES.read_text().splitlines(), 1) if code in text)


def test_axes_bear_the_names_of_the_spec_and_lengths_of_values_are_free(tmp_path: Path) -> None:
    frontend(tmp_path, "Ragged", inputs={"x": ["batch", "length"]}).export(18, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output}
    assert shapes == {"output_0": ["output_0_0", 2], "output_1": ["batch", "length"]}
    assert [str(tensor) for tensor in graph.interface(model, named=True)[1]] == [
        "output_0 INT64[?, 2]", "output_1 FP32[batch, ?]",
    ]  # fmt: skip


REFUSED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    # what depends on values
    ("Python", {"inputs": X}, (
        "export_modules.py:{x.mean().item() > 0]} in Python: `chosen: Tensor = names[x.mean().item() > 0](x) * self.scale`: ",
        "depends on values of its inputs, which dynamo cannot keep; script: Lambda aren't supported",
        "trace: left out, it would freeze", "torch.cond or torch.where",
    )),
    ("Branch", {"inputs": X, "exporter": "dynamo"}, ("`if bool(x.mean() > 0):`", "torch.cond")),
    # axes
    ("Frozen", {"inputs": IMAGE}, (
        "axis height is fixed at 64 by ", "export_modules.py:{height = int(image.shape[2])} in Frozen: `height = int(",
        "with batch 1, height 96, width 32, does not run", "Got: 96 Expected: 64", "make the axis a number",
    )),
    ("FixedSize", {"inputs": IMAGE}, (
        "takes batch 2, height 64, width 96, but not height 96: ", "size of tensor a (96) must match the size of tensor b (64)",
        "export_modules.py:{image * self.scale + self.position} in FixedSize", "checkpoint.axes",
    )),
    ("Even", {"inputs": IMAGE, "axes": {"height": [32, 65]}}, ("but not height 65: ", "divisible by 2", "multiple_of")),
    ("Sum", {"inputs": {"one": ["batch", "n"], "other": ["batch", "m"]}}, (
        "the module rejects its input one float32[2, 64], other float32[2, 96]", "must match the size of tensor b (96)",
        "export_modules.py:{one * self.scale + other}", "axes that are always equal get one name",
    )),
    # inputs and outputs
    ("Plain", {"inputs": X}, ("rejects its input x float32[2, 4]", "{avg_pool2d}", "correct checkpoint.inputs")),
    ("Several", {"inputs": {**WORDS, "mask": ["batch", "length"], "ids": ["batch", "length", 2]}}, ("its input ids float32",)),
    ("Plain", {"inputs": IMAGE, "outputs": {"y": ["batch", 4, "height", "width"]}}, (
        "for image [2, 3, 64, 96] the module returns y float32[2, 3, 32, 48], the spec says y float32['batch', 4, ",
    )),
    ("Ragged", {"inputs": X, "outputs": {"found": ["n", 2], "y": X["x"]}}, ("found int64[", "the spec says found float32[")),
    ("Several", {"inputs": WORDS, "outputs": ["scaled"]}, ("returns 2 tensors (output_0, output_1), the spec names 1: scaled",)),
    ("Nested", {"inputs": X, "outputs": ["again", "inputs"]}, ("the spec names 2: again, inputs",)),
    ("Nested", {"inputs": X}, ("returns int under count, which is no tensor",)),
    ("Complex", {"inputs": X}, ("returns output as complex64, which does not travel through Triton",)),
    ("Random", {"inputs": X}, ("asked the same twice, the module gives output wrong by", "eval mode")),
    # operators
    ("Eigenvalues", {"inputs": X}, (
        "no translation of the operator aten.linalg_eig at ", "export_modules.py:{torch.linalg.eigvals} in Eigenvalues: `values",
    )),
    ("CustomOp", {"inputs": X}, ("no translation of the operator export_tests.softsign at ", "in CustomOp: ", "`translations:`")),
    ("CustomOp", {"inputs": X, "translations": "export_modules.py:not_a_table"}, ("returns int, expected a dictionary",)),
]  # fmt: skip


@pytest.mark.parametrize(("module", "more", "words"), REFUSED, ids=[f"{i}-{r[0]}" for i, r in enumerate(REFUSED)])
def test_what_cannot_be_is_explained(tmp_path: Path, module: str, more: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ExportError) as caught:
        frontend(tmp_path, module, **more).export(18, tmp_path / "m.onnx")
    text = str(caught.value)
    for word in words:
        code = word.partition("{")[2].partition("}")[0]
        assert word.replace(f"{{{code}}}", str(line(code)) if code else "") in text
    assert "\n" not in text


def test_ends_of_ranges_are_tried(tmp_path: Path) -> None:
    """avg_pool2d needs two rows; the range says that one is enough."""
    front = frontend(tmp_path, "Plain", inputs=IMAGE, axes={"height": [1, 512]})
    with pytest.raises(ExportError, match=r"takes batch 2, height 64, width 96, but not height 1: .*too small"):
        front.export(18, tmp_path / "m.onnx")


def test_an_example_is_the_first_sample_and_a_range_gives_the_others() -> None:
    one, random = Input.model_validate({"shape": [2], "range": [3, 4], "example": [2, 2]}), np.random.default_rng(0)
    assert one.values(random, {}, first=True).tolist() == [2, 2]
    assert (one.values(random, {}) >= 3).all()


def spec(folder: Path, name: str, checkpoint: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "checkpoint": checkpoint}))
    return path


def test_build_says_which_exporter_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))  # an export that is remembered says nothing
    made = spec(tmp_path, "branch", said(tmp_path, "Branch", {"inputs": WHOLE}))
    assert run(["build", str(made), "-o", str(tmp_path / "repo")]) == 0
    assert "max_batch_size: 0" in (tmp_path / "repo" / "branch" / "config.pbtxt").read_text()
    told = "".join(capsys.readouterr()).replace("\n", "")
    assert "exporter script (refused before: dynamo: what it does depends on values of its inputs" in told
    held(frontend(tmp_path, "Branch", inputs=WHOLE), tmp_path / "repo" / "branch" / "1" / "model.onnx")


def test_build_ends_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = spec(tmp_path, "fixed", said(tmp_path, "FixedSize", {"inputs": IMAGE}))
    assert run(["build", str(made), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert "fixed: the module takes batch 2, height 64, width 96, but not height 96" in error
    assert "Traceback" not in error
    assert not (tmp_path / "repo" / "fixed").exists()


#: An LSTM over a free length, whose export is slow.
SLOW = {"recurrent": ("Recurrent", {"inputs": {"x": ["batch", "time", 4]}}, "dynamo")}


@pytest.mark.full
@pytest.mark.parametrize("case", CASES | SLOW)
def test_built_served_and_verified(tmp_path: Path, case: str) -> None:
    """Through child processes and the parity ladder, up to the served answer."""
    module, more, _ = (CASES | SLOW)[case]
    made = str(spec(tmp_path, case, said(tmp_path, module, more)))
    assert run(["build", made, "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", made, "-r", str(tmp_path / "repo")]) == 0


PAGE_NET = """

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, x):
        return softsign(x * self.scale)
"""


@pytest.mark.parametrize("exporter", ["dynamo", "trace"])
def test_the_operator_on_the_page_goes_both_ways(tmp_path: Path, exporter: str) -> None:
    page = (HERE.parent / "docs" / "export.md").read_text()
    (block,) = [part for part in page.split("```") if part.startswith("python\n@torch.library")]
    net = tmp_path / "net.py"
    net.write_text("import torch\n" + block.removeprefix("python") + PAGE_NET)
    torch.save({"scale": torch.tensor([2.0])}, tmp_path / "net.pt")
    values = {"weights": "net.pt", "factory": "net.py:Net", "inputs": SIGNED, "translations": "net.py:translations"}
    front = StateDict.model_validate({**values, "exporter": exporter}, context={"base": tmp_path})
    assert front.export(18, tmp_path / "m.onnx")["exporter"] == exporter
    assert "Softsign" in {node.op_type for node in graph.load(tmp_path / "m.onnx").graph.node}
    held(front, tmp_path / "m.onnx")


def test_every_message_on_the_page_is_one_that_we_give() -> None:
    code = "".join(
        (HERE.parent / "generator" / name).read_text() for name in ("export.py", "export_proof.py", "export_reasons.py")
    )
    code += (HERE.parent / "generator" / "flatten.py").read_text() + (HERE.parent / "generator" / "frozen.py").read_text()
    page = (HERE.parent / "docs" / "export.md").read_text().partition("## What the messages mean")[2]
    for words in (
        "the module rejects its input", "the module takes", "is fixed at", "made with", "depends on values of its inputs",
        "no translation of the operator", "it calls a Python function that has no translation", "asked the same twice",
        "the spec names",
    ):  # fmt: skip
        assert words in page
        assert words in code


class Open(torch.nn.Module):
    def forward(self, x: torch.Tensor, *rest: torch.Tensor, **more: Any) -> torch.Tensor:
        return x * 2 + sum(rest)


@pytest.mark.parametrize("names", [("x",), ("x", "y", "z")])
def test_a_forward_that_takes_anything_goes_through_dynamo(names: tuple[str, ...], tmp_path: Path) -> None:
    from generator.exporters import ATTEMPTS, Work, quietly
    from generator.flatten import Flat
    from generator.inputs import Input, samples, sizes

    taken = {name: Input(shape=("batch", 3)) for name in names}
    flat, feeds = Flat(Open(), list(taken)), samples(taken, {})
    answers = [flat.run(one) for one in feeds]
    work = Work(flat, flat.bare(feeds[0]), taken, {}, sizes(taken, {}), feeds, answers, 18, {})
    quietly(ATTEMPTS["dynamo"], work, tmp_path / "m.onnx")
    session = graph.session(tmp_path / "m.onnx", optimise=False)
    found = graph.run(session, dict(zip([one.name for one in session.get_inputs()], feeds[2].values(), strict=True)))
    np.testing.assert_allclose(next(iter(found.values())), answers[2]["output"], rtol=1e-6)
