"""Every rule finds its mistake, at its field, and nothing in what is right. The server's own verdict: tests/test_differential.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format

from generator import model_config
from generator.check import check
from generator.completion import completed
from generator.rules import Model, World, all_rules

sys.path.insert(0, str(Path(__file__).parent))
from differential import seeds

IO = 'input { name: "I" data_type: TYPE_FP32 dims: 4 } output { name: "O" data_type: TYPE_FP32 dims: 4 } '
PY = 'backend: "python" ' + IO
OV = 'backend: "openvino" ' + IO
PARAMETER = 'parameters { key: "%s" value { string_value: "%s" } }'
CONTROL = "sequence_batching { direct { } control_input { name: 'C' control { %s } } } max_batch_size: 1"
STATE = (
    "max_batch_size: 1 sequence_batching { direct { } state { input_name: 'S' output_name: 'T' data_type: TYPE_FP32 dims: [ 2, -1 ] "
    "initial_state { %s } } }"
)
WARM = 'model_warmup { name: "w" batch_size: %s inputs { key: "I" value { %s } } }'
WHOLE = "data_type: TYPE_FP32 dims: 4 zero_data: true"

#: rule, config, field of the first finding; the model is called m and has 1/model.py.
ROWS = [
    ("names/folder", PY + 'name: "other"', "name"),
    ("names/backend", IO, "backend"),
    ("names/backend", IO + 'platform: "caffe"', "platform"),
    ("names/backend", PY + 'platform: "ensemble"', "backend"),
    ("names/platform", IO + 'backend: "onnxruntime" platform: "tensorrt_plan"', "platform"),
    ("names/platform", IO + 'platform: "torch_aoti"', "platform"),
    ("names/backend_known", IO + 'backend: "other"', "backend"),
    ("versions/none", PY + "version_policy { specific { versions: 7 } }", "version_policy"),
    ("versions/none", PY + "version_policy { latest { } }", "version_policy"),
    ("max_batch_size/negative", PY + "max_batch_size: -1", "max_batch_size"),
    ("agents/none", PY + "model_repository_agents { }", "model_repository_agents"),
    ("io/name", PY + "input { data_type: TYPE_FP32 dims: 1 }", "input[1].name"),
    ("io/data_type", PY + 'output { name: "P" dims: 1 }', "output[1].data_type"),
    ("io/dims", PY + 'input { name: "J" data_type: TYPE_FP32 }', "input[1].dims"),
    ("io/dims", PY + 'input { name: "J" data_type: TYPE_FP32 dims: [ 1, 0 ] }', "input[1].dims[1]"),
    ("io/dims", PY + 'input { name: "J" data_type: TYPE_FP32 dims: -2 }', "input[1].dims[0]"),
    ("io/reshape", PY + 'input { name: "J" data_type: TYPE_FP32 dims: 1 reshape { } }', "input[1].reshape.shape"),
    ("io/reshape", PY + 'input { name: "J" data_type: TYPE_FP32 dims: [ 2, 3 ] reshape { shape: 5 } }', "input[1].reshape.shape"),
    (
        "io/reshape",
        PY + 'input { name: "J" data_type: TYPE_FP32 dims: [ 2, -1 ] reshape { shape: [ -1, 2 ] } }',
        "input[1].reshape.shape",
    ),
    ("io/format", PY + 'input { name: "J" data_type: TYPE_FP32 format: FORMAT_NCHW dims: 3 }', "input[1].format"),
    ("io/shape_tensor", PY + 'input { name: "J" data_type: TYPE_INT32 dims: 3 is_shape_tensor: true }', "input[1].is_shape_tensor"),
    (
        "io/non_linear",
        PY + 'input { name: "J" data_type: TYPE_INT8 dims: [ 1, 2, 3 ] is_non_linear_format_io: true }',
        "input[1].is_non_linear_format_io",
    ),
    ("io/labels", PY + 'output { name: "P" data_type: TYPE_FP32 dims: 1 label_filename: "l" }', "output[1].label_filename"),
    ("cache/decoupled", PY + "model_transaction_policy { decoupled: true } response_cache { enable: true }", "response_cache.enable"),
    ("batching/preferred", PY + "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 8 ] }", "dynamic_batching.preferred_batch_size[1]"),
    ("batching/priorities", PY + "dynamic_batching { priority_levels: 2 }", "dynamic_batching.default_priority_level"),
    (
        "batching/priorities",
        PY + "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } } }",
        "dynamic_batching.priority_queue_policy[3]",
    ),
    (
        "batching/preserve_ordering",
        PY + "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 } }",
        "dynamic_batching.default_queue_policy.timeout_action",
    ),
    ("sequence/control_name", PY + "sequence_batching { direct { } control_input { } } max_batch_size: 1", "sequence_batching.control_input[0].name"),
    ("sequence/control_values", PY + CONTROL % "kind: CONTROL_SEQUENCE_START", "sequence_batching.control_input[0].control[0]"),
    (
        "sequence/control_values",
        PY + CONTROL % "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32",
        "sequence_batching.control_input[0].control[0].data_type",
    ),
    (
        "sequence/control_twice",
        PY + CONTROL % "kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ]",
        "sequence_batching.control_input[0].control[1].kind",
    ),
    (
        "sequence/slot_utilization",
        PY + "sequence_batching { direct { minimum_slot_utilization: 2 } }",
        "sequence_batching.direct.minimum_slot_utilization",
    ),
    (
        "sequence/initial_state",
        PY + STATE % 'name: "s" data_type: TYPE_FP32 dims: [ 3, 3 ] zero_data: true',
        "sequence_batching.state[0].initial_state[0].dims[0]",
    ),
    (
        "sequence/initial_state_file",
        PY + STATE % 'name: "s" data_type: TYPE_FP32 dims: [ 2, 3 ] data_file: "gone"',
        "sequence_batching.state[0].initial_state[0].data_file",
    ),
    ("instances/gpus", PY + "instance_group { kind: KIND_GPU }", "instance_group[0].kind"),
    ("instances/gpus", PY + "instance_group { kind: KIND_CPU gpus: 0 }", "instance_group[0].gpus"),
    ("instances/profile", PY + 'instance_group { kind: KIND_CPU profile: "0" }', "instance_group[0].profile[0]"),
    (
        "instances/resources",
        PY + 'instance_group { kind: KIND_CPU rate_limiter { resources { name: "R" count: 1 } resources { name: "R" global: true count: 1 } } }',
        "instance_group[0].rate_limiter.resources[1].global",
    ),
    ("batch_io/input", PY + 'batch_input { target_name: "c" data_type: TYPE_INT32 }', "batch_input[0].source_input"),
    ("batch_io/input", PY + 'batch_input { target_name: "c" data_type: TYPE_INT64 source_input: "I" }', "batch_input[0].data_type"),
    ("batch_io/source", PY + 'batch_input { target_name: "c" data_type: TYPE_INT32 source_input: "X" }', "batch_input[0].source_input[0]"),
    ("batch_io/output", PY + 'batch_output { target_name: "X" source_input: "I" }', "batch_output[0].target_name[0]"),
    ("batch_io/output", PY + 'batch_output { source_input: "I" }', "batch_output[0].target_name"),
    ("warmup/dims", PY + WARM % (1, "data_type: TYPE_FP32 dims: -1 zero_data: true"), "model_warmup[0].inputs[I].dims[0]"),
    ("warmup/data", PY + WARM % (1, "data_type: TYPE_FP32 dims: 4"), "model_warmup[0].inputs[I]"),
    ("warmup/file", PY + WARM % (1, 'data_type: TYPE_FP32 dims: 4 input_data_file: "gone"'), "model_warmup[0].inputs[I].input_data_file"),
    ("warmup/inputs", PY + 'model_warmup { name: "w" batch_size: 1 }', "model_warmup[0].inputs"),
    ("warmup/inputs", PY + WARM % (1, "data_type: TYPE_INT32 dims: 4 zero_data: true"), "model_warmup[0].inputs[I].data_type"),
    ("warmup/batch_size", PY + "max_batch_size: 2 " + WARM % (3, WHOLE), "model_warmup[0].batch_size"),
    ("metrics/control", PY + "model_metrics { metric_control { } }", "model_metrics.metric_control[0].metric_identifier.family"),
    ("ensemble/platform", IO + 'platform: "ensemble"', "ensemble_scheduling"),
    ("schema/newer-field", IO + 'platform: "ensemble" ensemble_scheduling { max_inflight_requests: 2 }', "ensemble_scheduling.max_inflight_requests"),
    ("regret/no_batches", PY + "dynamic_batching { }", "dynamic_batching"),
    ("regret/io_twice", PY + IO, "input[0].name"),
    (
        "regret/preferred_never_waits",
        PY + "max_batch_size: 8 dynamic_batching { preferred_batch_size: 4 }",
        "dynamic_batching.preferred_batch_size",
    ),
    ("regret/specific_missing", PY + "version_policy { specific { versions: [ 1, 9 ] } }", "version_policy.specific.versions[1]"),
    ("regret/batch_in_dims", 'backend: "python" max_batch_size: 4 ' + IO.replace("dims: 4", "dims: [ -1, 4 ]"), "input[0].dims"),
    ("regret/parameter", IO + 'backend: "onnxruntime" parameters { key: "intra_op_threads_count" value { string_value: "1" } }', "parameters[intra_op_threads_count]"),
    ("python/model_file", PY + 'default_model_filename: "gone.py"', "default_model_filename"),
    ("openvino/file", OV + 'default_model_filename: "gone.xml"', "default_model_filename"),
    ("openvino/data_type", OV + 'output { name: "P" data_type: TYPE_STRING dims: 1 }', "output[1].data_type"),
    ("openvino/instances", OV + "instance_group { kind: KIND_GPU }", "instance_group[0].kind"),
    ("openvino/parameter", OV + PARAMETER % ("HINT_BF16", "NO"), "parameters[HINT_BF16]"),
    ("openvino/parameter", OV + PARAMETER % ("NUM_STREAMS", "2x"), "parameters[NUM_STREAMS]"),
    ("openvino/parameter", OV + PARAMETER % ("COMPILATION_NUM_THREADS", "1"), "parameters[COMPILATION_NUM_THREADS]"),
    ("openvino/unknown_parameter", OV + PARAMETER % ("num_streams", "2"), "parameters[num_streams]"),
    ("openvino/unknown_parameter", OV + PARAMETER % ("TARGET_DEVICE", "GPU"), "parameters[TARGET_DEVICE]"),
    ("openvino/batch", OV + "max_batch_size: 2", "max_batch_size"),
    ("openvino/batch", OV + "max_batch_size: 2 " + PARAMETER % ("ENABLE_BATCH_PADDING", "yes"), "max_batch_size"),
    ("openvino/streams", OV + "instance_group { kind: KIND_CPU count: 2 }", "parameters[NUM_STREAMS]"),
]  # fmt: skip


def model(text: str, name: str = "m", files: tuple[str, ...] = ("1/model.py",)) -> Model:
    said = text_format.Parse(text, model_config.new())
    folders = frozenset(path.rpartition("/")[0] for path in files if "/" in path)
    return Model(name, completed(said, name), said, dict.fromkeys(files), folders)


def world(*models: Model, server: tuple[int, ...] = (2, 51)) -> World:
    return World(
        {m.name: m for m in models}, server=server, gpus=0, backends=frozenset({"python", "onnxruntime", "openvino", "tensorrt"})
    )


@pytest.mark.parametrize(("rule", "text", "field"), ROWS, ids=[f"{row[0]}-{i}" for i, row in enumerate(ROWS)])
def test_a_rule_finds_its_mistake(rule: str, text: str, field: str) -> None:
    own = {"onnxruntime": "1/model.onnx", "openvino": "1/model.xml"}
    file = next((name for backend, name in own.items() if f'"{backend}"' in text), "1/model.py")
    files = () if rule == "names/backend" else (file,)
    found = [f for f in check(world(model(text, files=files))) if f.rule == rule]
    assert field in [f.field for f in found], [str(f) for f in check(world(model(text, files=files)))]
    assert all(f.found and f.expected and f.remedy and f.source for f in found)


@pytest.mark.parametrize("name", sorted(seeds.singles()))
def test_nothing_in_what_is_right(name: str) -> None:
    folder = seeds.singles()[name]
    config = folder.config
    assert config is not None
    inner = frozenset(path.split("/")[0] for path in folder.files if "/" in path)
    found = check(world(Model(name, completed(config, name), config, dict.fromkeys(folder.files), inner)))
    assert [str(f) for f in found if f.level == "error"] == []


STEP = 'backend: "python" max_batch_size: 8 ' + IO
CHAIN = (
    'platform: "ensemble" max_batch_size: 8 input { name: "IN" data_type: TYPE_FP32 dims: 4 } '
    'output { name: "OUT" data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { '
    'step { model_name: "a" model_version: -1 input_map { key: "I" value: "IN" } output_map { key: "O" value: "x" } } '
    'step { model_name: "b" model_version: -1 input_map { key: "I" value: "x" } output_map { key: "O" value: "OUT" } } }'
)

#: rule, (old, new) in the ensemble, (old, new) in model b, field.
ENSEMBLES = [
    ("ensemble/not_for_ensembles", ("max_batch_size: 8", "max_batch_size: 8 instance_group { }"), None, "instance_group"),
    ("ensemble/step", ('output_map { key: "O" value: "x" }', ""), None, "ensemble_scheduling.step[0].output_map"),
    ("ensemble/written_twice", ('value: "OUT"', 'value: "x"'), None, "ensemble_scheduling.step[1].output_map[O]"),
    ("ensemble/unused", ('value: "x" } }', 'value: "y" } }'), None, "ensemble_scheduling.step[0].output_map[O]"),
    ("ensemble/not_written", ('key: "I" value: "x"', 'key: "I" value: "z"'), None, "ensemble_scheduling.step[1].input_map[I]"),
    ("ensemble/not_written", ('key: "I" value: "IN"', 'key: "I" value: "OUT"'), None, "ensemble_scheduling.step[0].input_map[I]"),
    ("ensemble/model", ('model_name: "b"', 'model_name: "c"'), None, "ensemble_scheduling.step[1].model_name"),
    ("ensemble/circle", ('model_name: "b"', 'model_name: "m"'), None, "ensemble_scheduling.step"),
    ("ensemble/version", ('"b" model_version: -1', '"b" model_version: 3'), None, "ensemble_scheduling.step[1].model_version"),
    ("ensemble/batch_size", None, ("max_batch_size: 8", "max_batch_size: 4"), "max_batch_size"),
    ("ensemble/mapping", ('key: "I" value: "x"', 'key: "X" value: "x"'), None, "ensemble_scheduling.step[1].input_map[X]"),
    ("ensemble/mapping", None, ('input { name: "I"', 'input { name: "J" data_type: TYPE_FP32 dims: 1 } input { name: "I"'), "ensemble_scheduling.step[1].input_map"),
    ("ensemble/edge", None, ('"I" data_type: TYPE_FP32', '"I" data_type: TYPE_FP16'), "ensemble_scheduling.step[1].input_map[I]"),
    ("ensemble/edge", None, ('"I" data_type: TYPE_FP32 dims: 4', '"I" data_type: TYPE_FP32 dims: 5'), "ensemble_scheduling.step[1].input_map[I]"),
    ("ensemble/step_refused", None, ("max_batch_size: 8", "max_batch_size: 8 instance_group { kind: KIND_GPU }"), "ensemble_scheduling.step[1].model_name"),
    ("regret/fixed_step_version", ('"b" model_version: -1', '"b"'), None, "ensemble_scheduling.step[1].model_version"),
]  # fmt: skip


def chain(ensemble: tuple[str, str] | None = None, second: tuple[str, str] | None = None) -> World:
    outer = CHAIN.replace(*ensemble) if ensemble else CHAIN
    return world(
        model(outer, files=("1/keep",)), model(STEP, "a"), model(STEP.replace(*second) if second else STEP, "b")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "ensemble", "second", "field"), ENSEMBLES, ids=[f"{row[0]}-{i}" for i, row in enumerate(ENSEMBLES)]
)
def test_an_ensemble_rule_finds_its_mistake(
    rule: str, ensemble: tuple[str, str] | None, second: tuple[str, str] | None, field: str
) -> None:
    found = [f for f in check(chain(ensemble, second)) if f.model == "m"]
    assert field in [f.field for f in found if f.rule == rule], list(map(str, found))


def test_a_right_ensemble_has_no_findings() -> None:
    assert check(chain()) == []


def test_a_cached_ensemble_has_no_decoupled_step() -> None:
    streaming = ("max_batch_size: 8", "max_batch_size: 8 model_transaction_policy { decoupled: true }")
    assert check(chain(None, streaming)) == []
    found = check(chain(("max_batch_size: 8", "max_batch_size: 8 response_cache { enable: true }"), streaming))
    assert [(f.rule, f.field) for f in found] == [("ensemble/decoupled_cache", "response_cache.enable")]


@pytest.mark.parametrize(
    ("data", "found"), [(b"\2\0\0\0hi", ""), (b"\2\0\0\0hi" * 2, "2 elements"), (b"\2\0\0\0h", "cut off"), (b"hi", "cut off")]
)
def test_strings_of_a_sample_are_counted(tmp_path: Path, data: bytes, found: str) -> None:
    (tmp_path / "text").write_bytes(data)
    warm = 'input { name: "T" data_type: TYPE_STRING dims: 1 } model_warmup { name: "w" batch_size: 1 inputs { key: "I" value { %s } } '
    warm += 'inputs { key: "T" value { data_type: TYPE_STRING dims: 1 input_data_file: "text" } } }'
    made = replace(model(PY + warm % WHOLE), files={"1/model.py": None, "warmup/text": tmp_path / "text"})
    said = [f.found for f in check(world(made)) if f.level == "error"]
    assert [found in text for text in said] == ([True] if found else [])


def test_an_unbatched_step_fits_where_its_shape_counts_the_batch() -> None:
    unbatched = ("max_batch_size: 8 " + IO, IO.replace("dims: 4", "dims: [ -1, 4 ]"))
    assert [str(f) for f in check(chain(None, unbatched)) if f.level == "error"] == []


def test_every_rule_says_what_it_looks_for_and_is_tested() -> None:
    tested = {row[0] for row in ROWS} | {row[0] for row in ENSEMBLES}
    elsewhere = {
        "names/config",
        "versions/number",
        "versions/negative",
        "sequence/state_names",
        "sequence/growable_memory",
        "ensemble/decoupled",
        "ensemble/decoupled_cache",
    }
    own = ("onnx", "openvino", "pytorch", "regret", "python", "engine", "tensorrt")
    files = {rule.id for rule in all_rules() if rule.id.split("/")[0] in own}
    assert {rule.id for rule in all_rules()} - tested - elsewhere - files == set()
    assert all(rule.summary.endswith(".") and rule.source for rule in all_rules())


@pytest.mark.parametrize(
    "more",
    [
        "",
        "max_batch_size: 1",
        "instance_group { kind: KIND_CPU count: 2 } " + PARAMETER % ("NUM_STREAMS", "2"),
        "instance_group { kind: KIND_AUTO count: 2 } " + PARAMETER % ("PERFORMANCE_HINT", "throughput"),
        PARAMETER % ("TARGET_DEVICE", "GPU") + PARAMETER % ("COMPILATION_NUM_THREADS", "1"),
    ],
)
def test_a_right_openvino_model_has_no_findings(more: str) -> None:
    assert [str(f) for f in check(world(model(OV + more, files=("1/model.xml", "1/model.bin")), server=(2, 62)))] == []
