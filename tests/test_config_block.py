"""`config:`: any field of model_config.proto in YAML, judged by the descriptor, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from config_messages import HARD, leaves, messages, path_of, saying
from google.protobuf import text_format
from hypothesis import example, given, settings
from pydantic import ValidationError

from generator import config_block, load, model_config, pbtxt
from generator.config import drafts
from generator.errors import SpecError
from generator.load import line_of
from generator.pipeline import Pipeline
from generator.spec import Spec, json_schema

SCHEMA = json_schema()
LEAVES = list(leaves(model_config.descriptor()))
BARE = "name: thing\ncheckpoint: {kind: onnx, file: model.onnx}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnx
    import tiny_models

    made = tmp_path_factory.mktemp("block")
    onnx.save(tiny_models.identity(), made / "model.onnx")
    return made


def spec(folder: Path, block: str, name: str = "thing.yaml") -> Path:
    path = folder / name
    path.write_text(f"{BARE}{block}", encoding="utf-8")
    return path


def refusal(folder: Path, block: str) -> list[str]:
    """The lines of the refusal, without the file's name."""
    path = spec(folder, block)
    with pytest.raises(SpecError) as caught:
        load.load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


# ---- what cannot be said: line 5 is the first of the block

BAD = [
    (
        "max_batchsize: 4",
        "5: config.model.max_batchsize: unknown field 'max_batchsize' of ModelConfig; did you mean 'max_batch_size'?",
    ),
    ("maxBatchSize: 4", "did you mean 'max_batch_size'?"),
    (
        "nothing_like_it: 4",
        "5: config.model.nothing_like_it: unknown field 'nothing_like_it' of ModelConfig; known here: backend, ",
    ),
    (
        "optimization: {cuda: {graph: true}}",
        "5: config.model.optimization.cuda.graph: unknown field 'graph' of Cuda; did you mean 'graphs'?",
    ),
    ("7.10: 4", "5: config.model.7.10: unknown field 7.10 of ModelConfig"),
    ("null: 4", "5: config.model.None: unknown field nothing of ModelConfig"),
    ("max_batch_size: four", "5: config.model.max_batch_size: found 'four'; expected a whole number (int32)"),
    ("max_batch_size: '4'", "found '4'; expected a whole number (int32)"),
    ("max_batch_size: 4.0", "found 4.0; expected a whole number (int32)"),
    ("max_batch_size: true", "found True; expected a whole number (int32)"),
    ("max_batch_size:", "found nothing; expected a whole number (int32)"),
    ("max_batch_size: [4]", "found a list; expected a whole number (int32)"),
    ("max_batch_size: 2147483648", "found 2147483648; expected -2147483648 to 2147483647 (int32)"),
    ("optimization: {gather_kernel_buffer_threshold: -1}", "found -1; expected 0 to 4294967295 (uint32)"),
    ("dynamic_batching: {max_queue_delay_microseconds: 18446744073709551616}", "expected 0 to 18446744073709551615 (uint64)"),
    (
        "input: [{name: x, dims: [9223372036854775808]}]",
        "5: config.model.input.0.dims.0: found 9223372036854775808; expected -922",
    ),
    ("backend: 3", "found 3; expected a text; quote it: '3'"),
    ("backend: 1.50", "found 1.50; expected a text; quote it: '1.50'"),
    ("backend: yes", "found True; expected a text"),
    ("backend: {}", "found an empty mapping; expected a text"),
    ('backend: "\\ud800"', "expected text that UTF-8 can carry"),
    ("optimization: {cuda: {graphs: 'true'}}", "found 'true'; expected true or false"),
    ("optimization: {cuda: {graphs: 1}}", "found 1; expected true or false"),
    ("sequence_batching: {direct: {minimum_slot_utilization: half}}", "found 'half'; expected a number (float)"),
    ("sequence_batching: {direct: {minimum_slot_utilization: 1.0e+39}}", "expected at most 3.402823e+38 (float)"),
    (
        "instance_group: [{kind: kind_cpu}]",
        "5: config.model.instance_group.0.kind: found 'kind_cpu'; expected a name of Kind; did you mean 'KIND_CPU'?",
    ),
    ("instance_group: [{kind: gpu}]", "did you mean 'KIND_GPU'?"),
    ("instance_group: [{kind: 2}]", "found 2; expected a name of Kind; known here: KIND_AUTO, KIND_CPU, KIND_GPU, KIND_MODEL"),
    ("input: [{name: x, data_type: FP32}]", "found 'FP32'; expected a name of DataType; did you mean 'TYPE_FP32'?"),
    (
        "instance_group: {count: 2}",
        "5: config.model.instance_group: found a mapping; expected a list, as the field is repeated; write `- ` before",
    ),
    ("input: [x]", "5: config.model.input.0: found 'x'; expected a mapping of the fields of ModelInput ({} for an empty one)"),
    ("dynamic_batching: true", "found True; expected a mapping of the fields of ModelDynamicBatching ({} for an empty one)"),
    ("dynamic_batching:", "found nothing; expected a mapping of the fields of ModelDynamicBatching ({} for an empty one)"),
    ("metric_tags: [a]", "found a list; expected a mapping from string to string"),
    (
        "parameters: {ENABLE: YES}",
        "5: config.model.parameters.ENABLE: found True; expected a text; YAML reads yes, on and true alike, so quote",
    ),
    ("parameters: {a: }", "found nothing; expected a text"),
    ("parameters: {a: [1]}", "found a list; expected a text"),
    ("parameters: {a: {string: b}}", "unknown field 'string' of ModelParameter; did you mean 'string_value'?"),
    ("metric_tags: {a: true}", "quote what shall be written"),
    ("metric_tags: {on: b}", "config.model.metric_tags.True: found True; expected a text; YAML reads"),
    ("response_cache: maybe", "found 'maybe'; expected true or false"),
    ("dynamic_batching: {priority_queue_policy: {high: {}}}", "found 'high'; expected a whole number (uint64)"),
    (
        "dynamic_batching: {priority_queue_policy: {0x2: {max_queue_size: -1}}}",
        "5: config.model.dynamic_batching.priority_queue_policy.0x2.max_queue_size: found -1",
    ),
    (
        "version_policy: {latest: {num_versions: 1}, all: {}}",
        "5: config.model.version_policy.all: said together with 'latest'; only one of latest, all, specific can be",
    ),
    (
        "dynamic_batching: {}\n    backend: x\n    sequence_batching: {}",
        "7: config.model.sequence_batching: said together with 'dynamic_batching'; only one of ",
    ),
    ("backend: a\n    backend: b", "6: 'backend' is said twice; remove one"),
    ("cc_model_filenames: {7.1: a, 7.10: b}", "5: '7.10' is said twice"),
    ("? [a]\n    : b", "5: a list or a mapping cannot be a key"),
    ("name: other", "5: config.model.name: the name of a generated model follows from the spec's; remove it"),
]


@pytest.mark.parametrize(("said", "words"), BAD, ids=[said[:60] for said, _ in BAD])
def test_a_mistake_is_answered_with_its_line(folder: Path, said: str, words: str) -> None:
    lines = refusal(folder, f"config:\n  model:\n    {said}\n")
    assert len(lines) == 1, lines
    assert words in lines[0]
    assert lines[0][0] in "567"


def test_every_mistake_is_told_at_once(folder: Path) -> None:
    block = """\
config:
  model:
    max_batchsize: 4
    optimization:
      cuda:
        graphs: maybe
    instance_group:
      - count: 1
      - count: 99999999999
serving:
  max_batch_size: many
"""
    lines = refusal(folder, block)
    assert [line.split(":")[0] for line in sorted(lines)] == ["11", "13", "5", "8"], lines
    assert "config.model.instance_group.1.count: found 99999999999" in "\n".join(lines)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("config:\n  modle: {}\n", "4: config.modle: unknown key 'modle'; did you mean 'model'?"),
        ("config:\n  model: 3\n", "4: config.model: found 3; expected a mapping of the fields of ModelConfig"),
        ("config:\n  model:\n", "4: config.model: found nothing; expected a mapping of the fields of ModelConfig"),
        ("config:\n\n  ensemble: {backend: x}\n", "5: config.ensemble: there is no such model"),
    ],
)
def test_a_role_that_is_not_there(folder: Path, block: str, words: str) -> None:
    lines = refusal(folder, block)
    assert len(lines) == 1
    assert words in lines[0]


# ---- what can be said


def test_natural_yaml(folder: Path) -> None:
    block = """\
config:
  model:
    max_batch_size: 0x4
    optimization:
      execution_accelerators: {gpu_execution_accelerator: [{name: tensorrt, parameters: {max: 1073741824, p: FP16}}]}
    parameters: {text: a, whole: 010, number: 1.50, zero: "", long: {string_value: "yes"}}
    cc_model_filenames: {7.5: t4.plan, 12.0: b200.plan, "8.9": l4.plan}
    response_cache: true
    metric_tags: {}
    sequence_batching: {direct: {minimum_slot_utilization: 1e-3}}
"""
    config = config_block.message(load.load(spec(folder, block)).config.model)
    assert config.max_batch_size == 4
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator[0]
    assert dict(accelerator.parameters) == {"max": "1073741824", "p": "FP16"}
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert said == {"text": "a", "whole": "010", "number": "1.50", "zero": "", "long": "yes"}
    assert dict(config.cc_model_filenames) == {"7.5": "t4.plan", "12.0": "b200.plan", "8.9": "l4.plan"}
    assert config.response_cache.enable
    assert config.sequence_batching.direct.minimum_slot_utilization == pytest.approx(1e-3)


@pytest.mark.parametrize("path", LEAVES, ids=path_of)
def test_every_field_of_the_schema_can_be_said_and_reads_back(folder: Path, path: tuple[Any, ...]) -> None:
    block = saying(path)
    config = config_block.message(block)
    assert len(config.ListFields()) == 1
    assert config_block.message(config_block.as_yaml(config)) == config
    back = text_format.Parse(text_format.MessageToString(config), model_config.new())
    assert back == config
    jsonschema.Draft202012Validator(SCHEMA["$defs"]["ModelConfig"] | {"$defs": SCHEMA["$defs"]}).validate(block)


@pytest.mark.parametrize("path", [p for p in LEAVES if p[0].name not in ("name",)], ids=path_of)
def test_every_field_said_in_a_spec_is_in_the_config_that_is_written(folder: Path, path: tuple[Any, ...]) -> None:
    block = saying(path)
    tensor = {"input": "x", "output": "y"}.get(path[0].name)
    if tensor:  # those that the model has, as it has them
        item = {"dims": [4], "data_type": "TYPE_FP32", "reshape": {"shape": [4]}}
        last = path[1].name
        block = {path[0].name: [{"name": tensor, **({last: item[last]} if last in item else block[path[0].name][0])}]}
        block[path[0].name][0]["name"] = tensor
    where = spec(folder, yaml.safe_dump({"config": {"model": block}}))
    draft = drafts(Pipeline(where, load.load(where)))["thing"]
    written = pbtxt.parse(pbtxt.text(draft.config, draft.comments()))
    assert written == draft.config
    if tensor:
        found = getattr(written, path[0].name)[0]
        assert (
            dict(config_block.as_yaml(found)).items()
            >= config_block.as_yaml(config_block.message(block))[path[0].name][0].items()
        )
        if path[1].name == "name":
            return
    else:
        merged = config_block.as_yaml(written)[path[0].name]
        assert contains(merged, config_block.as_yaml(config_block.message(block))[path[0].name])
    origin = draft.origin(path_of(path))
    assert origin is not None
    assert origin.loc[:3] == ("config", "model", path[0].name)
    line = where.read_text().splitlines()[line_of(where, origin.loc) - 1]
    key = path[-1].name if not (path[-1].message_type and path[-1].message_type.GetOptions().map_entry) else "key"
    assert key in line, (origin, line)


def contains(found: Any, wanted: Any) -> bool:
    """Is all of `wanted` in `found`? Maps and messages may hold more."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and contains(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)


@given(messages())
@settings(max_examples=300, deadline=None)
@example(text_format.Parse("version_policy { all {} } dynamic_batching {}", model_config.new()))
@example(text_format.Parse('model_warmup { inputs { key: "a" value { zero_data: false } } }', model_config.new()))
@example(
    text_format.Parse('parameters { key: "a" value {} } parameters { key: "b" value { string_value: "" } }', model_config.new())
)
@example(text_format.Parse("sequence_batching { direct { minimum_slot_utilization: 3.4028235e38 } }", model_config.new()))
@example(text_format.Parse("sequence_batching { direct { minimum_slot_utilization: 0.1 } }", model_config.new()))
@example(text_format.Parse("sequence_batching { direct { minimum_slot_utilization: inf } }", model_config.new()))
def test_every_message_goes_through_yaml_and_comes_back_equal(config: Any) -> None:
    said = config_block.as_yaml(config)
    assert config_block.message(said) == config
    for text in (config_block.dump(said).encode(), yaml.safe_dump(said).encode()):
        assert config_block.message(yaml.safe_load(text)) == config
        assert config_block.message(yaml.load(text, Loader=load._Loader)) == config


@pytest.mark.parametrize("text", [*HARD, "a\x85b", " a", "a ", "a\n", "\na", "a\r\nb", "x" * 300, "word " * 60], ids=repr)
def test_every_text_goes_through_yaml(text: str) -> None:
    config = model_config.new(backend=text, metric_tags={text: text})
    config.parameters[text].string_value = text
    assert (
        config_block.message(yaml.load(config_block.dump(config_block.as_yaml(config)).encode(), Loader=load._Loader)) == config
    )


def test_single_precision_numbers_are_written_short() -> None:
    config = text_format.Parse("sequence_batching { direct { minimum_slot_utilization: 0.1 } }", model_config.new())
    assert config_block.as_yaml(config) == {"sequence_batching": {"direct": {"minimum_slot_utilization": 0.1}}}


def test_a_number_without_a_name_is_kept_and_refused() -> None:
    config = text_format.Parse('input { name: "x" data_type: 99 }', model_config.new())
    said = config_block.as_yaml(config)
    assert said == {"input": [{"name": "x", "data_type": 99}]}
    with pytest.raises(ValidationError, match="found 99; expected a name of DataType"):
        config_block.message(said)


# ---- the rest of what holds it


def test_the_deepest_field_is_within_the_depth_that_a_spec_may_have(folder: Path) -> None:
    deepest = max(LEAVES, key=lambda path: len(str(saying(path)).replace("[", "{").split("{")))
    where = spec(folder, yaml.safe_dump({"config": {"model": saying(deepest)}}, default_flow_style=False))
    levels = sum(isinstance(event, yaml.CollectionStartEvent) for event in yaml.parse(where.read_text()))
    assert 9 < levels < load.MAX_DEPTH
    assert load.load(where).config.model == saying(deepest)


def test_a_spec_goes_through_json_as_the_child_process_gets_it(folder: Path) -> None:
    block = """\
config:
  model:
    dynamic_batching: {priority_queue_policy: {1: {max_queue_size: 3}}, preferred_batch_size: []}
    model_metrics: {metric_control: [{histogram_options: {buckets: [1, .inf]}}]}
serving: {version_policy: {specific: [1]}, server: 24.10, instances: {model: 2}}
"""
    one = load.load(spec(folder, block))
    two = Spec.model_validate_json(json.dumps(one.model_dump(mode="json")), context={"base": folder})
    assert two.config.model == one.config.model
    assert two.serving == one.serving


def test_the_json_schema_knows_the_fields(folder: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    good = {"name": "a", "checkpoint": {"kind": "onnx", "file": "b"}}
    validator.validate({**good, "config": {"model": {"parameters": {"a": 1}, "response_cache": True, "dynamic_batching": {}}}})
    wrong: list[dict[str, Any]] = [
        {"max_batchsize": 1},
        {"max_batch_size": "a"},
        {"max_batch_size": 2**31},
        {"instance_group": [{"kind": "cpu"}]},
        {"instance_group": {}},
        {"dynamic_batching": {"priority_queue_policy": {"high": {}}}},
    ]
    for bad in wrong:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**good, "config": {"model": bad}})
