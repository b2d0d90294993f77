"""`config:` and the short forms of `serving:` over what is derived; who said it; what contradicts the model; a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_detector
from google.protobuf import text_format

from generator import pbtxt, server_version
from generator.build import plan
from generator.cli import run
from generator.config import drafts
from generator.config_block import as_yaml
from generator.draft import Draft, Origin
from generator.errors import SpecError
from generator.load import line_of, load
from generator.pipeline import Pipeline
from generator.plan import steps
from generator.rules import Model, World
from generator.rules.schema import newer_field
from generator.serving import Serving
from generator.spec import Spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnx
    import tiny_models

    made = tmp_path_factory.mktemp("merge")
    tiny_detector.write(made, seed=5)
    onnx.save(tiny_models.identity(shape=(2, 4)), made / "fixed.onnx")
    return made


def write(folder: Path, said: str, name: str = "case") -> Path:
    """The tiny detector with more in its spec; `said` begins on line 15 and may take the place of `serving:`."""
    path = folder / f"{name}.yaml"
    base = (folder / "tiny.yaml").read_text()
    head, _, tail = base.partition("serving:\n  max_batch_size: 4\n")
    path.write_text(f"{head}{said.lstrip()}{'' if 'serving:' in said else 'serving: {max_batch_size: 4}'}\n{tail}")
    return path


def made(folder: Path, said: str) -> dict[str, Draft]:
    path = write(folder, said)
    return drafts(pipeline(path))


def pipeline(path: Path) -> Pipeline:
    spec = load(path)
    assert isinstance(spec, Spec)
    return Pipeline(path, spec)


def block(role: str, text: str) -> str:
    return f"config:\n  {role}:\n" + "".join(f"    {line}\n" for line in text.strip().splitlines())


def derived(folder: Path, role: str = "model") -> dict[str, Any]:
    return as_yaml(drafts(pipeline(write(folder, "", "derived")))[NAMES[role]].config)


NAMES = {"ensemble": "tiny", "model": "tiny_model", "preprocess": "tiny_preprocess", "postprocess": "tiny_postprocess"}


# ---- merging


MERGED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("a scalar replaces", "model", {"default_model_filename": "other.onnx"}, {"default_model_filename": "other.onnx"}),
    ("a list replaces", "model", {"instance_group": [{"count": 3}]}, {"instance_group": [{"count": 3}]}),
    ("an empty list empties", "model", {"instance_group": []}, {"instance_group": None}),
    (
        "a map merges by key",
        "preprocess",
        {"parameters": {"fit": "x", "new": 1}},
        {"parameters": {"fit": "x", "new": "1", "anchor": "centre"}},
    ),
    (
        "a message merges",
        "model",
        {"dynamic_batching": {"preserve_ordering": True}},
        {"dynamic_batching": {"preserve_ordering": True}},
    ),
    (
        "a new message is made",
        "model",
        {"optimization": {"cuda": {"graphs": True}}},
        {"optimization": {"cuda": {"graphs": True}}},
    ),
    ("an empty message is set", "model", {"optimization": {}}, {"optimization": {}}),
    ("a zero is said", "model", {"max_batch_size": 0}, {"max_batch_size": None}),
    (
        "a oneof member replaces",
        "model",
        {"sequence_batching": {"direct": {}}},
        {"sequence_batching": {"direct": {}}, "dynamic_batching": None},
    ),
    (
        "the ensemble's steps stay",
        "ensemble",
        {"ensemble_scheduling": {"max_inflight_requests": 2}},
        {"ensemble_scheduling": {"max_inflight_requests": 2}},
    ),
]


@pytest.mark.parametrize(("role", "said", "wanted"), [row[1:] for row in MERGED], ids=[row[0] for row in MERGED])
def test_a_block_goes_over_what_is_derived(folder: Path, role: str, said: dict[str, Any], wanted: dict[str, Any]) -> None:
    import json

    before = derived(folder, role)
    after = as_yaml(made(folder, f"config: {json.dumps({role: said})}\n")[NAMES[role]].config)
    for name, value in wanted.items():
        if value is None:
            assert name not in after
        elif isinstance(value, dict):
            assert after[name].items() >= value.items()
            # and nothing of the derived got lost
            assert set(after[name]) >= set(before.get(name, ()))
        else:
            assert after[name] == value
    if "max_batch_size" in said:
        wanted = {**wanted, "input": None, "output": None, "dynamic_batching": None}
    unsaid = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert unsaid <= set(wanted)


def test_without_batching_the_dims_count_the_batch(folder: Path) -> None:
    config = made(folder, block("model", "max_batch_size: 0"))["tiny_model"].config
    assert list(config.input[0].dims) == [-1, 64, 64, 3]
    assert list(made(folder, block("preprocess", "max_batch_size: 2"))["tiny_preprocess"].config.output[0].dims) == [64, 64, 3]


def test_the_batch_size_of_what_is_served_is_that_of_its_block(folder: Path) -> None:
    assert pipeline(write(folder, block("ensemble", "max_batch_size: 2"))).max_batch_size == 2
    assert pipeline(write(folder, block("model", "max_batch_size: 2"))).max_batch_size == 4


def test_inputs_and_outputs_merge_by_name(folder: Path) -> None:
    said = """
output:
  - name: det_scores
    reshape: {shape: [20]}
    dims: [20, 1]
  - {name: num_dets, label_filename: labels.txt}
"""
    draft = made(folder, block("model", said))["tiny_model"]
    names = [tensor.name for tensor in draft.config.output]
    assert names == ["num_dets", "det_boxes", "det_scores", "det_classes"]
    assert list(draft.config.output[2].dims) == [20, 1]
    assert list(draft.config.output[2].reshape.shape) == [20]
    assert draft.config.output[0].label_filename == "labels.txt"
    assert list(draft.config.output[1].dims) == [20, 4]
    assert draft.origin("output[2].dims") == Origin("spec", ("config", "model", "output", 0, "dims"))
    assert draft.origin("output[0].label_filename") == Origin("spec", ("config", "model", "output", 1, "label_filename"))
    assert draft.origin("output[1].dims") == Origin("model")


def test_each_field_knows_its_line(folder: Path) -> None:
    said = """
optimization:
  execution_accelerators:
    gpu_execution_accelerator:
      - name: tensorrt
        parameters:
          precision_mode: FP16
dynamic_batching:
  priority_queue_policy:
    1:
      max_queue_size: 3
parameters:
  "a.b]c": x
instance_group:
  - count: 2
    rate_limiter:
      priority: 1
"""
    path = write(folder, block("model", said))
    draft, lines = drafts(pipeline(path))["tiny_model"], path.read_text().splitlines()
    for field, words in {
        "optimization.execution_accelerators.gpu_execution_accelerator[0].parameters[precision_mode]": "precision_mode: FP16",
        "optimization.execution_accelerators.gpu_execution_accelerator[0].name": "- name: tensorrt",
        "dynamic_batching.priority_queue_policy[1].max_queue_size": "max_queue_size: 3",
        "dynamic_batching.priority_queue_policy[1]": "1:",
        "parameters[a.b]c]": '"a.b]c": x',
        "instance_group[0].rate_limiter.priority": "priority: 1",
        "instance_group[0].count": "- count: 2",
        "instance_group": "instance_group:",
    }.items():
        origin = draft.origin(field)
        assert origin is not None, field
        assert lines[line_of(path, origin.loc) - 1].strip() == words, field
    assert draft.origin("dynamic_batching") != Origin("spec", ("config", "model", "dynamic_batching"))


def test_what_a_oneof_displaced_leaves_no_note(folder: Path) -> None:
    said = "serving: {dynamic_batching: {preserve_ordering: true}}\n" + block("model", "sequence_batching: {direct: {}}")
    draft = made(folder, said)["tiny_model"]
    assert not [path for path in draft.origins if path.startswith("dynamic_batching")]


def test_comments_say_where_a_value_came_from(folder: Path) -> None:
    said = block("model", "response_cache: true\ninstance_group: [{count: 2, kind: KIND_CPU}]")
    draft = made(folder, said)["tiny_model"]
    text = pbtxt.text(draft.config, draft.comments())
    assert "response_cache {  # spec: config.model.response_cache\n" in text
    assert "instance_group {  # spec: config.model.instance_group\n  count: 2\n  kind: KIND_CPU\n}" in text


def test_the_block_decides_the_key_of_the_repository_step_only(folder: Path) -> None:
    one, two = (pipeline(write(folder, block("model", f"parameters: {{a: {value}}}"), f"key{value}")) for value in (1, 2))
    for before, after, same in zip(steps(one), steps(two), (True, True, False), strict=True):
        assert (before.key == after.key) is same
    assert {name for name in steps(two)[2].parts if steps(two)[2].parts[name] != steps(one)[2].parts[name]} == {"config"}


# ---- what contradicts the model; the block begins on line 15


CONTRADICTIONS = [
    (
        "model",
        "input: [{name: pixel}]",
        ":17: config.model.input.0.name: tiny_model has no input 'pixel'; did you mean 'pixels'?",
    ),
    (
        "ensemble",
        "output:\n  - name: nothing",
        ":18: config.ensemble.output.0.name: tiny has no output 'nothing'; known here: det_boxes, det_classes, ",
    ),
    (
        "model",
        "input: [{dims: [3]}]",
        ":17: config.model.input.0: found no name; expected the name of the input that is meant, one of pixels",
    ),
    (
        "model",
        "input:\n  - name: pixels\n    data_type: TYPE_FP32",
        ":19: config.model.input.0.data_type: found TYPE_FP32; expected TYPE_UINT8",
    ),
    (
        "model",
        "input: [{name: pixels, dims: [64, 64]}]",
        ":17: config.model.input.0.dims: found [64, 64]; expected [64, 64, 3], as the model's input",
    ),
    ("model", "input: [{name: pixels, dims: [-1, 64, 3]}]", "found [-1, 64, 3]; expected [64, 64, 3]"),
    ("model", "input: [{name: pixels, dims: []}]", "found []; expected [64, 64, 3]"),
    (
        "model",
        "input: [{name: pixels, reshape: {}}]",
        "input.0.reshape: found []; expected [64, 64, 3], as the model's input has it; correct the shape",
    ),
    ("model", "input: [{name: pixels, reshape: {shape: [64, 3, 64]}}]", "input.0.reshape: found [64, 3, 64]"),
    ("preprocess", "output: [{name: geometry, dims: [5]}]", ":17: config.preprocess.output.0.dims: found [5]; expected [6]"),
    ("model", "input: [{name: pixels}, {name: pixels}]", ":17: config.model.input.1.name: the input 'pixels' is said twice"),
]


@pytest.mark.parametrize(("role", "said", "words"), CONTRADICTIONS, ids=[row[1][:40] for row in CONTRADICTIONS])
def test_what_the_model_has_cannot_be_said_otherwise(folder: Path, role: str, said: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        made(folder, block(role, said))
    assert len(str(caught.value).splitlines()) == 1
    assert f"{folder / 'case.yaml'}:" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("said", ["input: [{name: pixels, dims: [64, 64, 3], data_type: TYPE_UINT8}]", "input: []"])
def test_what_the_model_has_may_be_said_again(folder: Path, said: str) -> None:
    assert as_yaml(made(folder, block("model", said))["tiny_model"].config) == derived(folder)


def test_all_contradictions_are_told_at_once_and_before_anything_is_built(folder: Path, tmp_path: Path) -> None:
    path = write(folder, block("model", "input: [{name: a}]\noutput: [{name: b}, {name: c}]"))
    with pytest.raises(SpecError) as caught:
        plan([path], tmp_path / "repo")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "config.model.input.0.name",
        "config.model.output.0.name",
        "config.model.output.1.name",
    ]


def test_a_model_of_a_fixed_batch_takes_no_batches(folder: Path) -> None:
    path = folder / "fixed.yaml"
    path.write_text("name: fixed\ncheckpoint: {kind: onnx, file: fixed.onnx}\nconfig:\n  model: {max_batch_size: 2}\n")
    with pytest.raises(SpecError, match=r"fixed.yaml:4: config.model.max_batch_size: found 2; expected 0, as the first axis"):
        drafts(pipeline(path))


# ---- short forms: each changes exactly its field


def differing(one: Any, two: Any, above: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        names = {*one, *two}
        return {p for name in names for p in differing(one.get(name), two.get(name), f"{above}.{name}" if above else name)}
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return {p for index, pair in enumerate(zip(one, two, strict=True)) for p in differing(*pair, f"{above}[{index}]")}
    return set() if one == two else {above}


SHORT = [
    ("version_policy: all", {"version_policy": {"all": {}}}),
    ("version_policy: {latest: 3}", {"version_policy": {"latest": {"num_versions": 3}}}),
    ("version_policy: {specific: [1, 4]}", {"version_policy": {"specific": {"versions": [1, 4]}}}),
    ("dynamic_batching: {preferred_batch_sizes: [2, 4]}", {"dynamic_batching.preferred_batch_size": [2, 4]}),
    ("dynamic_batching: {max_queue_delay_us: 7}", {"dynamic_batching.max_queue_delay_microseconds": 7}),
    ("dynamic_batching: {preserve_ordering: true}", {"dynamic_batching.preserve_ordering": True}),
    ("dynamic_batching: {priority_levels: 3}", {"dynamic_batching.priority_levels": 3}),
    ("dynamic_batching: {default_priority_level: 2}", {"dynamic_batching.default_priority_level": 2}),
    ("dynamic_batching: {default_queue_policy: {}}", {"dynamic_batching.default_queue_policy": {}}),
    (
        "dynamic_batching: {default_queue_policy: {action: delay}}",
        {"dynamic_batching.default_queue_policy": {"timeout_action": "DELAY"}},
    ),
    (
        "dynamic_batching: {default_queue_policy: {timeout_us: 5, allow_timeout_override: true, max_queue_size: 6}}",
        {
            "dynamic_batching.default_queue_policy": {
                "default_timeout_microseconds": 5,
                "allow_timeout_override": True,
                "max_queue_size": 6,
            }
        },
    ),
    ("dynamic_batching: false", {"dynamic_batching": None}),
    ("instances: {model: 3}", {"instance_group[0].count": 3}),
    (
        "instances: {model: {count: 2, kind: gpu, gpus: [0, 1]}}",
        {"instance_group[0].count": 2, "instance_group[0].kind": "KIND_GPU", "instance_group[0].gpus": [0, 1]},
    ),
    (
        "instances: {model: {kind: auto, host_policy: near}}",
        {"instance_group[0].kind": None, "instance_group[0].host_policy": "near"},
    ),
    ("max_batch_size: 2", {"max_batch_size": 2}),
    ("server: 2.73", {}),
]


@pytest.mark.parametrize(("said", "wanted"), SHORT, ids=[row[0][:50] for row in SHORT])
def test_a_short_form_changes_exactly_its_field(folder: Path, said: str, wanted: dict[str, Any]) -> None:
    size = "" if "max_batch_size" in said else "  max_batch_size: 4\n"
    text = f"serving:\n{size}  {said}\n"
    path = write(folder, text)
    draft, before = drafts(pipeline(path))["tiny_model"], derived(folder)
    after = as_yaml(draft.config)
    assert differing(before, after) == set(wanted)
    for place, value in wanted.items():
        found: Any = after
        for word in place.replace("[0]", ".0").split("."):
            found = found[int(word)] if word.isdecimal() else found.get(word)
        assert found == value
        if value is not None:
            origin = draft.origin(place)
            assert origin is not None
            assert origin.kind == "spec", place
            assert path.read_text().splitlines()[line_of(path, origin.loc) - 1].strip().startswith(said.partition(":")[0])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("version_policy: al", "serving.version_policy: found 'al'; expected one of `latest: N`, `all`, `specific: [N, ...]`"),
        ("version_policy: {}", "serving.version_policy: found nothing; expected one of"),
        ("version_policy: {latest: 1, specific: [1]}", "found latest and specific; expected one of"),
        ("version_policy: {latest: 0}", "serving.version_policy.latest: found 0; input should be greater than or equal to 1"),
        ("version_policy: {specific: []}", "serving.version_policy.specific: found []"),
        ("version_policy: {lates: 1}", "unknown key 'lates'; did you mean 'latest'?"),
        ("instances: {model: 0}", "serving.instances.model: found 0; input should be greater than or equal to 1"),
        ("instances: {model: {kind: gp}}", "serving.instances.model.kind: found 'gp'; input should be 'cpu', 'gpu' or 'auto'"),
        ("instances: {model: {gpus: [-1]}}", "serving.instances.model.gpus.0: found -1"),
        (
            "dynamic_batching: {max_queue_delay_us: 18446744073709551616}",
            "serving.dynamic_batching.max_queue_delay_us: found 18446744073709551616",
        ),
        ("dynamic_batching: {default_queue_policy: {max_queue_size: 4294967296}}", "max_queue_size: found 4294967296"),
        ("server: two", "serving.server: found 'two'; expected a version of tritonserver such as 2.51, or its container"),
        ("server: 30.01", "found '30.01'; of containers 21.02 to "),
    ],
)
def test_a_short_form_that_cannot_be(folder: Path, said: str, words: str) -> None:
    path = write(folder, f"serving:\n  {said}\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:16: ")
    assert words in str(caught.value)


# ---- the oldest server


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("2.51", (2, 51)),
        ("2.51.0", (2, 51)),
        ("2.60", (2, 60)),
        ("'2.60'", (2, 60)),
        ("24.10", (2, 51)),
        ("25.07", (2, 59)),
        ("22.08", (2, 25)),
    ],
)
def test_versions_and_containers(folder: Path, said: str, wanted: tuple[int, ...]) -> None:
    assert pipeline(write(folder, f"serving: {{server: {said}}}\n")).spec.serving.server == wanted


def test_the_default_is_the_server_that_make_installs() -> None:
    from generator.container import BASE_IMAGE
    from generator.install import SERVER_VERSION

    assert server_version.text_of(Serving().server) == SERVER_VERSION.rpartition(".")[0]
    assert server_version.parse(BASE_IMAGE.partition(":")[2].partition("-")[0]) == Serving().server


@pytest.mark.parametrize(("server", "refused"), [((2, 51), True), ((2, 62), True), ((2, 63), False), ((), False)])
def test_a_field_that_the_server_does_not_know(server: tuple[int, ...], refused: bool) -> None:
    config = text_format.Parse('name: "a" ensemble_scheduling { max_inflight_requests: 2 }', _empty())
    found = list(newer_field.find(Model("a", config, config), World({}, server=server)))
    assert [problem.field for problem in found] == (["ensemble_scheduling.max_inflight_requests"] if refused else [])
    assert all("2.63.0" in problem.found for problem in found)


def test_a_number_without_a_name_is_known_to_every_server() -> None:
    config = text_format.Parse("optimization { priority: 77 }", _empty())
    assert not list(newer_field.find(Model("a", config, config), World({}, server=(2, 51))))


def _empty() -> Any:
    from generator import model_config

    return model_config.new()


def test_it_is_refused_at_plan_time_with_its_line(folder: Path, tmp_path: Path) -> None:
    said = block("ensemble", "metric_tags: {a: b}\nensemble_scheduling:\n  max_inflight_requests: 2")
    path = write(folder, said)
    with pytest.raises(
        SpecError, match=r"case.yaml:19: tiny: ensemble_scheduling.max_inflight_requests: found a field of .*2\.63"
    ):
        plan([path], tmp_path / "repo")
    plan([write(folder, f"{said}serving: {{max_batch_size: 4, server: 2.63}}\n")], tmp_path / "repo")


# ---- a real build, on a real server

RICH = """
config:
  ensemble:
    metric_tags: {team: vision, stage: "yes"}
  preprocess:
    instance_group:
      - {name: fast, count: 2, kind: KIND_CPU, rate_limiter: {resources: [{name: R1, count: 1}], priority: 2}}
    optimization: {gather_kernel_buffer_threshold: 0, eager_batching: true}
  model:
    parameters: {intra_op_thread_count: 1, "hard: # \\"key\\"": "{ } \\n \\\\ ü"}
    response_cache: true
    optimization:
      graph: {level: 1}
      input_pinned_memory: {enable: false}
      output_pinned_memory: {enable: false}
    dynamic_batching:
      priority_levels: 2
      default_priority_level: 1
      priority_queue_policy:
        1: {timeout_action: DELAY, default_timeout_microseconds: 1000000, allow_timeout_override: true, max_queue_size: 64}
        2: {max_queue_size: 8}
    input: [{name: pixels, reshape: {shape: [64, 64, 3]}}]
    model_warmup:
      - {name: zeros, batch_size: 1, count: 1, inputs: {pixels: {data_type: TYPE_UINT8, dims: [64, 64, 3], zero_data: true}}}
    model_transaction_policy: {decoupled: false}
    version_policy: {specific: {versions: [1]}}
  postprocess:
    instance_group: [{count: 1, kind: KIND_CPU, host_policy: near}]
serving:
  max_batch_size: 4
  version_policy: {latest: 1}
  dynamic_batching: {max_queue_delay_us: 50, default_queue_policy: {action: reject, max_queue_size: 100}}
"""


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("rich") / "repo"
    assert run(["build", str(write(folder, RICH, "rich")), "-o", str(repository)]) == 0
    return repository


def test_a_real_build_writes_what_is_said(folder: Path, built: Path) -> None:
    for name, draft in drafts(pipeline(folder / "rich.yaml")).items():
        assert pbtxt.read(built / name / "config.pbtxt") == draft.config
    config = pbtxt.read(built / "tiny_model" / "config.pbtxt")
    assert config.parameters['hard: # "key"'].string_value == "{ } \n \\ ü"
    assert config.dynamic_batching.priority_queue_policy[2].max_queue_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 50
    assert as_yaml(config.version_policy) == {"specific": {"versions": [1]}}
    assert run(["check", str(built), "--server", "2.51"]) == 0


def test_the_real_server_serves_it_as_said(folder: Path, built: Path, server: Callable[..., Any]) -> None:
    import tritonclient.grpc as grpc
    from google.protobuf import json_format

    from generator.client import Client
    from generator.install import server_environment

    caches = server_environment().root / "pytriton" / "tritonserver" / "caches"
    options = [f"--cache-directory={caches}", "--cache-config=local,size=1048576", "--rate-limit=execution_count"]
    running = server(built, extra_args=options)
    client = grpc.InferenceServerClient(running.grpc_url)
    for name, draft in drafts(pipeline(folder / "rich.yaml")).items():
        assert client.is_model_ready(name, "1")
        served = as_yaml(json_format.ParseDict(
            client.get_model_config(name, as_json=True)["config"], type(draft.config)(), ignore_unknown_fields=True
        ))  # fmt: skip
        wanted = as_yaml(draft.config)
        for field in (
            "parameters",
            "response_cache",
            "metric_tags",
            "dynamic_batching",
            "version_policy",
            "model_warmup",
            "input",
        ):
            if name != "tiny" or field not in ("dynamic_batching",):
                assert contains(served.get(field), wanted.get(field)), (name, field, served.get(field))
    with Client(running.grpc_url, model="tiny") as caller:
        assert len(caller.infer([folder / "wide.png", folder / "tall.jpg"])) == 2


def contains(found: Any, wanted: Any) -> bool:
    """The server fills in more than was said."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(contains, found, wanted))
    return found == wanted or (wanted in (None, False, 0) and found in (None, False, 0))
