"""Which server knows which field: the table against the real server 2.51, in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
from differential import seeds
from google.protobuf import text_format

from generator import field_versions, model_config
from generator.field_versions import unknown_to

#: A config's part, the field it is about, and the server that has it first.
NEWER = [
    ("model_metrics { }", "model_metrics", "2.52"),
    ("ensemble_scheduling { max_inflight_requests: 1 }", "ensemble_scheduling.max_inflight_requests", "2.63"),
]
STATE = 'input_name: "a" output_name: "b" data_type: TYPE_FP32 dims: 1 use_same_buffer_for_input_output: true'
KNOWN = [
    'runtime: ""',
    "sequence_batching { iterative_sequence: true }",
    f"sequence_batching {{ state {{ {STATE} }} }}",
    "input { is_non_linear_format_io: false }",
    "instance_group { kind: KIND_CPU }",
    "model_warmup { count: 2 }",
    "response_cache { }",
]


@pytest.mark.parametrize(("text", "field", "since"), NEWER)
def test_newer_fields_are_found(text: str, field: str, since: str) -> None:
    config = text_format.Parse(text, model_config.new())
    found = dict(unknown_to(config, (2, 51)))
    assert field in found
    first = field_versions.version(found[field])
    assert first > (2, 51)
    assert dict(unknown_to(config, first)) == {}
    assert field_versions.version(since) == first


@pytest.mark.parametrize("text", KNOWN)
def test_older_fields_are_not(text: str) -> None:
    config = text_format.Parse(text, model_config.new())
    assert list(unknown_to(config, (2, 51))) == []


def newer_leaves() -> list[str]:
    """Every field that the table says came after 2.51."""
    since = field_versions.table()["since"]
    return sorted(word for word, first in since.items() if field_versions.version(first) > (2, 51))


def test_every_newer_field_is_refused_by_the_real_server_and_every_older_one_is_read(tmp_path: Path) -> None:
    """Not whether a value is sensible: whether the server's reader knows the name. It says which it does not."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    from generator.server import Server

    since = field_versions.table()["since"]
    tops = [field.name for field in model_config.descriptor().fields]
    expected = {name: field_versions.version(since[f"ModelConfig.{name}"]) <= (2, 51) for name in tops}
    assert False in expected.values()
    tops.sort(key=expected.__getitem__)
    with_fields = dict.fromkeys(tops, "")
    for name in tops:
        folder = tmp_path / f"m_{name}" / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(seeds.IDLE)
        with_fields[name] = _smallest(name)
        (folder.parent / "config.pbtxt").write_text(with_fields[name])
    with Server(tmp_path, model_control="explicit") as server, triton.InferenceServerClient(server.grpc_url) as client:
        for name in tops:
            try:
                client.load_model(f"m_{name}", client_timeout=30)
            except InferenceServerException:
                continue
        log = server.log
        assert not server.ended
    for name, known in expected.items():
        refused = f'has no field named "{name}"' in log
        assert refused != known, (name, known, with_fields[name])


def _smallest(name: str) -> str:
    """The field with as little in it as the text format allows."""
    field = model_config.descriptor().fields_by_name[name]
    whole = {"batch_output": 'batch_output { target_name: "x" }'}
    whole["model_repository_agents"] = "model_repository_agents { agents { } }"
    if name in whole:
        return whole[name]  # the server ends at an empty one (rules batch_io/output and agents/none)
    if field.message_type is not None:
        return f"{name} {{ }}"
    if field.enum_type is not None:
        return f"{name}: 0"
    return f'{name}: "x"' if field.cpp_type == field.CPPTYPE_STRING else f"{name}: 1"


def test_the_table_is_of_the_installed_schema_or_newer() -> None:
    words = {f"ModelConfig.{field.name}" for field in model_config.descriptor().fields}
    assert words <= set(field_versions.table()["since"])
    assert newer_leaves()
