"""The config against real model files: ONNX by a scan of its bytes, TorchScript by its code, python by its presence."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from generator import check, onnx_signature, torchscript_signature
from generator.errors import CheckpointError
from generator.tensors import from_onnx_dtype

BATCHED = tiny_models.identity()
FIXED = tiny_models.identity(shape=(2, 4))
FREE = tiny_models.identity(shape=("N", "M"))
IO = 'input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 } '
ONE = "instance_group { count: 1 kind: KIND_CPU } "

#: model, config, rule and field; None: nothing is found. Each is also loaded on the real server, by the stand-in.
ROWS: list[tuple[onnx.ModelProto | bytes, str, str | None, str]] = [
    (BATCHED, "max_batch_size: 4 " + IO, None, ""),
    (BATCHED, IO.replace("dims: 4", "dims: [ -1, 4 ]"), None, ""),
    (FREE, "max_batch_size: 4 " + IO.replace("dims: 4 } o", "dims: 3 } o").replace('"y" data_type: TYPE_FP32 dims: 4', '"y" data_type: TYPE_FP32 dims: -1'), None, ""),
    (FIXED, IO.replace("dims: 4", "dims: [ 2, 4 ]"), None, ""),
    (FIXED, "max_batch_size: 4 " + IO, "onnx/dims", "max_batch_size"),
    (BATCHED, "max_batch_size: 4 " + IO.replace("dims: 4", "dims: [ -1, 4 ]"), "onnx/dims", "input[0].dims"),
    (BATCHED, "max_batch_size: 4 " + IO.replace('"y" data_type: TYPE_FP32 dims: 4', '"y" data_type: TYPE_FP32 dims: 5'), "onnx/dims", "output[0].dims"),
    (FREE, "max_batch_size: 4 " + IO, "onnx/dims", "output[0].dims"),
    (BATCHED, "max_batch_size: 4 " + IO.replace('"x" data_type: TYPE_FP32', '"x" data_type: TYPE_FP16'), "onnx/data_type", "input[0].data_type"),
    (BATCHED, "max_batch_size: 4 " + IO.replace('"y"', '"z"'), "onnx/names", "output[0].name"),
    (BATCHED, "max_batch_size: 4 " + IO.replace('"x"', '"z"'), "onnx/names", "input[0].name"),
    (BATCHED, "max_batch_size: 4 " + IO.replace("dims: 4 } o", "dims: 4 optional: true } o"), "onnx/optional", "input[0].optional"),
    (BATCHED, 'max_batch_size: 4 default_model_filename: "other.onnx" ' + IO, "onnx/file", "default_model_filename"),
    (b"no onnx at all", "max_batch_size: 4 " + IO, "onnx/file", ""),
    (BATCHED.SerializeToString()[:-5], "max_batch_size: 4 " + IO, "onnx/file", ""),
    (b"", "max_batch_size: 4 " + IO, "onnx/file", ""),
]  # fmt: skip


def repository(folder: Path, made: onnx.ModelProto | bytes, config: str, name: str = "m") -> Path:
    (folder / name / "1").mkdir(parents=True)
    data = made if isinstance(made, bytes) else made.SerializeToString()
    (folder / name / "1" / "model.onnx").write_bytes(data)
    (folder / name / "config.pbtxt").write_text(f'backend: "onnxruntime" {ONE}{config}')
    return folder


@pytest.mark.parametrize(("made", "config", "rule", "field"), ROWS, ids=[f"{row[2]}-{i}" for i, row in enumerate(ROWS)])
def test_config_and_onnx_file(tmp_path: Path, made: onnx.ModelProto | bytes, config: str, rule: str | None, field: str) -> None:
    world, _ = check.read(repository(tmp_path, made, config), strict=True)
    errors = [f for f in check.check(world) if f.level == "error"]
    assert [(f.rule, f.field) for f in errors][:1] == ([(rule, field)] if rule else []), list(map(str, errors))


def test_the_server_gives_the_same_verdicts(tmp_path: Path) -> None:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    from generator.server import Server

    for index, (made, config, _, _) in enumerate(ROWS):
        repository(tmp_path, made, config, f"m{index}")
    with Server(tmp_path, model_control="explicit") as server, triton.InferenceServerClient(server.grpc_url) as client:
        for index, (_, _, rule, _) in enumerate(ROWS):
            try:
                client.load_model(f"m{index}")
                loaded = True
            except InferenceServerException:
                loaded = False
            assert loaded == (rule is None), ROWS[index][1:]


def test_a_folder_with_only_a_model_is_completed(tmp_path: Path) -> None:
    repository(tmp_path, BATCHED, "")
    (tmp_path / "m" / "config.pbtxt").unlink()
    world, _ = check.read(tmp_path)
    config = world.models["m"].config
    assert (config.max_batch_size, config.input[0].name, list(config.output[0].dims)) == (4, "x", [4])
    assert [(f.level, f.rule) for f in check.check(world)] == [("warning", "regret/completed_batch")]


DTYPES = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 8]
SHAPES = st.lists(st.one_of(st.integers(0, 1 << 40), st.sampled_from(["N", "height", ""])), max_size=5)
TENSORS = st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=1, max_size=4)


@settings(deadline=None)
@given(TENSORS, TENSORS, st.integers(0, 2), st.integers(7, 21), st.binary(max_size=40))
def test_the_scan_reads_what_onnx_reads(inputs, outputs, constants, opset, weights) -> None:  # type: ignore[no-untyped-def]
    import tempfile

    infos = [[helper.make_tensor_value_info(n, d, s) for n, (d, s) in side.items()] for side in (inputs, outputs)]
    held = [TensorProto(name=name, data_type=1, raw_data=weights) for name in list(inputs)[:constants]]
    node = helper.make_node("Identity", ["a"], ["b"], doc_string="x" * 300)
    graph = helper.make_graph([node], "g", infos[0], infos[1], initializer=held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("other", 99)])
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(made.SerializeToString())
        file.flush()
        found = onnx_signature.read(Path(file.name))
    assert (found.opset, found.ir_version) == (opset, made.ir_version)
    expected = [(n, v) for n, v in inputs.items() if n not in {h.name for h in held}]
    for tensors, said in ((found.signature.inputs, expected), (found.signature.outputs, list(outputs.items()))):
        assert [t.name for t in tensors] == [name for name, _ in said]
        for tensor, (_, (dtype, shape)) in zip(tensors, said, strict=True):
            whole = [*([-1] if tensor.batched else []), *tensor.shape]
            assert whole == [d if isinstance(d, int) else -1 for d in shape]
            assert tensor.dtype == from_onnx_dtype(dtype)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_the_scan_never_fails_otherwise_than_with_one_message(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            onnx_signature.read(Path(file.name))
        except CheckpointError as error:
            assert "not an ONNX model" in error.message  # noqa: PT017 -- it may also be one


def test_the_real_models(root: Path) -> None:
    for path in sorted((root / "model_repository").rglob("*.onnx")):
        graph = onnx.load(path).graph
        names = {i.name for i in graph.initializer}
        found = onnx_signature.read(path).signature
        assert [t.name for t in found.inputs] == [i.name for i in graph.input if i.name not in names]
        assert [t.name for t in found.outputs] == [o.name for o in graph.output]


def test_weights_are_stepped_over(tmp_path: Path) -> None:
    made = tiny_models.identity()
    made.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[1 << 26], raw_data=bytes(1 << 28)))
    (tmp_path / "big.onnx").write_bytes(made.SerializeToString())
    del made
    onnx_signature.read(tmp_path / "big.onnx")
    began = time.process_time()
    onnx_signature.read(tmp_path / "big.onnx")
    assert time.process_time() - began < 0.1  # a quarter of a gigabyte read would take several times that


def test_torchscript_names_and_counts(tmp_path: Path) -> None:
    import torch

    class Two(torch.nn.Module):
        def forward(self, image: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image * scale, image

    folder = tmp_path / "r" / "m" / "1"
    folder.mkdir(parents=True)
    torch.jit.trace(Two(), (torch.ones(2), torch.ones(2))).save(str(folder / "model.pt"))  # type: ignore[no-untyped-call]
    assert torchscript_signature.read(folder / "model.pt") == (["image", "scale"], 2)

    def config(first: str, second: str, output: str) -> list[tuple[str, str]]:
        names = "".join(f'input {{ name: "{n}" data_type: TYPE_FP32 dims: 2 }}' for n in (first, second))
        text = f'backend: "pytorch" {names} output {{ name: "{output}" data_type: TYPE_FP32 dims: 2 }}'
        (folder.parent / "config.pbtxt").write_text(text)
        world, _ = check.read(tmp_path / "r", strict=True)
        return [(f.rule, f.field) for f in check.check(world)]

    assert config("image", "scale", "OUTPUT__1") == []
    assert config("INPUT__0", "INPUT__1", "OUTPUT__0") == []
    assert config("INPUT__0", "INPUT__2", "OUTPUT__0") == [("pytorch/names", "input[1].name")]
    assert config("image", "scales", "OUTPUT__0") == [("pytorch/order", "input[0].name")], "then the config's order decides"
    assert config("image", "scale", "OUTPUT__2") == [("pytorch/names", "output[0].name")]
    assert config("image", "scale", "answer") == [], "a single one is the first"
    assert config("INPUT__1", "A__1", "OUTPUT__0") == [("pytorch/names", "input[1].name")]
    assert config("scale", "picture", "OUTPUT__0") == [("pytorch/order", "input[0].name")]
    torch.save({"w": torch.ones(1)}, folder / "model.pt")
    assert config("image", "scale", "OUTPUT__0") == [("pytorch/file", "")]


def torchscript(folder: Path, source: str, text: str) -> list[tuple[str, str, str]]:
    """Rule, level and field of what is found on a model whose forward is `source`."""
    import torch

    version = folder / "r" / "m" / "1"
    version.mkdir(parents=True, exist_ok=True)
    module = type("Net", (torch.nn.Module,), {})()
    scripted = torch.jit.script(module)
    scripted.define(source + "\n")
    torch.jit.save(scripted, version / "model.pt")
    (version.parent / "config.pbtxt").write_text(f'backend: "pytorch" platform: "pytorch_libtorch" {text}')
    world, _ = check.read(folder / "r", strict=True)
    return [(f.rule, f.level, f.field) for f in check.check(world)]


X, OUT = 'input { name: "x" data_type: TYPE_FP32 dims: 2 }', 'output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: 2 }'
ONE_TENSOR = "def forward(self, x: Tensor) -> Tensor:\n  return x"
CONTROL = (
    'sequence_batching {{ control_input {{ name: "{}" control {{ kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }} }} }}'
)
STATE = 'sequence_batching {{ state {{ input_name: "{}" output_name: "OUTPUT__1" data_type: TYPE_FP32 dims: 2 }} }}'
TWO_TENSORS = "def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:\n  return x, y"


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        (ONE_TENSOR, X + OUT, []),
        ("def forward(self, x: Dict[str, Tensor]) -> Tensor:\n  return x['a']", X.replace("x", "a") + X.replace("x", "b") + OUT, []),
        (ONE_TENSOR, X + X.replace('"x"', '"y"') + OUT, [("pytorch/inputs", "input"), ("pytorch/order", "input[0].name")]),
        ("def forward(self, x: Tensor, scale: float) -> Tensor:\n  return x * scale", X + X.replace('"x"', '"scale"') + OUT, [("pytorch/inputs", "input")]),
        (ONE_TENSOR, X.replace("FP32", "UINT16") + OUT, [("pytorch/types", "input[0].data_type")]),
        (ONE_TENSOR, X + OUT.replace("FP32", "BF16"), [("pytorch/types", "output[0].data_type")]),
        ("def forward(self, x: List[str]) -> List[str]:\n  return x", X.replace("FP32", "STRING") + OUT.replace("FP32", "STRING"), []),
        ("def forward(self, x: List[str]) -> List[str]:\n  return x", "max_batch_size: 4 " + X.replace("FP32", "STRING") + OUT, [("pytorch/types", "input[0].dims")]),
        (ONE_TENSOR, X + OUT + 'parameters { key: "INFERENCE_MODE" value { string_value: "On" } }', []),
        (ONE_TENSOR, X + OUT + 'parameters { key: "INFERENCE_MODE" value { string_value: "yes" } }', [("pytorch/parameters", "parameters[INFERENCE_MODE]")]),
        (ONE_TENSOR, X + OUT + 'parameters { key: "INTRA_OP_THREAD_COUNT" value { string_value: "all" } }', [("pytorch/parameters", "parameters[INTRA_OP_THREAD_COUNT]")]),
        (TWO_TENSORS, X.replace('"x"', '"INPUT__0"') + OUT + CONTROL.format("START"), [("pytorch/controls", "sequence_batching.control_input[0].name")]),
        (TWO_TENSORS, X.replace('"x"', '"INPUT__0"') + OUT + CONTROL.format("START__1"), []),
        (TWO_TENSORS, X + OUT + STATE.format("INPUT__1"), [("pytorch/controls", "input[0].name")]),
        (TWO_TENSORS, X.replace('"x"', '"INPUT__0"') + OUT + STATE.format("INPUT__1"), []),
    ],
)  # fmt: skip
def test_torchscript_against_its_config(tmp_path: Path, source: str, text: str, found: list[tuple[str, str]]) -> None:
    ours = [row for row in torchscript(tmp_path, source, text) if row[0].startswith("pytorch/")]
    assert [(name, field) for name, _, field in ours] == found
    assert all((level == "warning") == (name == "pytorch/order") for name, level, _ in ours)


def test_a_plan_that_is_none_and_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.plan").write_bytes(b"ptrt")
    (tmp_path / "m" / "config.pbtxt").write_text('platform: "tensorrt_plan" ' + IO)
    world, _ = check.read(tmp_path)
    assert [(f.level, f.rule) for f in check.check(world)] == [("error", "engine/plan"), ("warning", "engine/provenance")]


@pytest.mark.full
def test_the_server_never_answers_where_model_py_is_missing(tmp_path: Path) -> None:
    """Why rule python/model_file is an error: not a refusal, but a load without end."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    from generator.server import Server

    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "python" ' + IO + ONE)
    world, _ = check.read(tmp_path)
    assert [f.rule for f in check.check(world)] == ["python/model_file"]
    with Server(tmp_path, model_control="explicit") as server, triton.InferenceServerClient(server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="Deadline"):
            client.load_model("m", client_timeout=15)
        server.kill()


def test_links_to_model_files_are_followed(tmp_path: Path) -> None:
    made = repository(tmp_path / "real", BATCHED, "max_batch_size: 4 " + IO)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "m").symlink_to(made / "m")
    world, _ = check.read(tmp_path / "linked")
    assert check.check(world) == []
