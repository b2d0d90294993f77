"""config.pbtxt: any message to text and back, comments, lines, and files that are none."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from config_messages import messages
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from generator import model_config, pbtxt
from generator.draft import DEFAULT, MODEL, Draft, Origin
from generator.errors import RepositoryError

sys.path.insert(0, str(Path(__file__).parent))
from differential import mutate, seeds

HARD = [
    'quotes " and \'', "# no comment", "a\nb", "{ } [ ] < >", "back\\slash", "grün, 日本, 🐢", "\x00\x01\x7f", "\r\n\t", " ends with {", "x: {", "", "%s ${A} $$",
]  # fmt: skip


@settings(deadline=None)
@given(messages())
def test_every_message_survives(config) -> None:  # type: ignore[no-untyped-def]
    text = pbtxt.text(config)
    assert pbtxt.parse(text) == config
    assert pbtxt.text(pbtxt.parse(text)) == text


@settings(deadline=None)
@given(messages())
def test_every_field_is_found_on_its_line(config) -> None:  # type: ignore[no-untyped-def]
    text = pbtxt.text(config)
    lines, written = pbtxt.lines(text), text.split("\n")
    for place in mutate.places(config):
        number = lines[place.path]
        assert re.match(rf"\s*{place.field.name}(:| \{{)", written[number - 1]), (place.path, written[number - 1])


@settings(deadline=None)
@given(messages())
def test_comments_change_nothing(config) -> None:  # type: ignore[no-untyped-def]
    comments = dict.fromkeys(pbtxt.lines(pbtxt.text(config)), "spec: a.b")
    text = pbtxt.text(config, comments)
    assert pbtxt.parse(text) == config
    assert text.count("# spec: a.b") == len(set(pbtxt.lines(pbtxt.text(config)).values()))


def test_comments_say_where_a_value_came_from() -> None:
    config = model_config.new(name="m", max_batch_size=4)
    config.input.add(name="x {", data_type="TYPE_FP32", dims=[3])
    config.parameters["k # }"].string_value = "v"
    draft = Draft(config)
    draft.note("name", Origin("spec", ("name",)))
    draft.note("max_batch_size", DEFAULT)
    draft.note("input", MODEL)
    draft.note("parameters[k # }]", Origin("spec", ("config", "model", "parameters", "k # }")))
    text = pbtxt.text(config, draft.comments())
    assert 'name: "m"  # spec: name\n' in text
    assert "max_batch_size: 4  # default\n" in text
    assert "input {  # model\n" in text
    assert "parameters {  # spec: config.model.parameters.k # }\n" in text
    assert pbtxt.parse(text) == config


HAND_WRITTEN = """
# a comment: {
name: "m", max_batch_size: 0x8;
input [
  { name: 'a' data_type: TYPE_FP32 dims: [ 1,
    -1 ] },
  < name: "b" data_type: 11 dims: 3 dims: 4 >
]
output: { name: "two " "parts" }
parameters { key: "k]{" value: { string_value: "v" } }
dynamic_batching { priority_queue_policy { value { max_queue_size: 2 } key: 3 } }
"""


def test_lines_of_a_hand_written_file() -> None:
    lines = pbtxt.lines(HAND_WRITTEN)
    expected = {
        "name": 3, "max_batch_size": 3, "input": 4, "input[0]": 5, "input[0].dims[1]": 6, "input[1].data_type": 7,
        "input[1].dims[1]": 7, "output[0].name": 9, "parameters[k]{].string_value": 10,
        "dynamic_batching.priority_queue_policy[3].max_queue_size": 11,
    }  # fmt: skip
    assert {path: lines.get(path) for path in expected} == expected
    assert pbtxt.parse(HAND_WRITTEN).output[0].name == "two parts"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"inpt { }", 'c.pbtxt:1: Message type "inference.ModelConfig" has no field named "inpt"; did you mean \'input\'?'),
        (b'\nmax_batch_size: "a"', "c.pbtxt:2: Couldn't parse integer"),
        (b"input { data_type: TYPE_FP33 }", "TYPE_FP33; one of TYPE_INVALID, TYPE_BOOL"),
        (b"input { dims: 99999999999999999999 }", "c.pbtxt:1: Value out of range"),
        (b'name: "a"\nname: "b"', 'c.pbtxt:2: Message type "inference.ModelConfig" should not have multiple "name" fields'),
        (b"sequence_batching { }\ndynamic_batching { }", "c.pbtxt:2: Field"),
        (b"\x00\x01\x02\x7fELF", "c.pbtxt:1: "),
        (b"\xff\xfen\x00a\x00", "c.pbtxt:1: not UTF-8 text"),
        ('name: "größe"'.encode("latin-1"), "c.pbtxt:1: not UTF-8 text"),
        (b'\xef\xbb\xbfname: "m"', "byte order mark"),
        (b"{" * 5000, "c.pbtxt:1: "),
        (b"input {" * 5000, "c.pbtxt:1: "),
        (b"dims: [" * 5000, "c.pbtxt:1: "),
        (b"x" * (pbtxt.MAX_BYTES + 1), "a config has at most 2000000"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_message(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "c.pbtxt"
    path.write_bytes(data)
    with pytest.raises(RepositoryError) as refused:
        pbtxt.read(path)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 1500


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(max_size=60), st.text(st.sampled_from('inputdms:{}[]<>"\\# \n0-9,;'), max_size=60)))
def test_any_text_is_read_or_refused(source: str) -> None:
    pbtxt.lines(source)
    try:
        pbtxt.parse(source)
    except RepositoryError as error:
        assert error.remedy  # noqa: PT017 -- it may also be a config


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_config_is_read_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(seeds.singles())))
    text = pbtxt.text(seeds.singles()[name].config)
    at = data.draw(st.integers(0, len(text)))
    damaged = (
        text[:at]
        + data.draw(st.sampled_from(["", "{", "}", '"', "\\", ":", "[", "<", "-", "#", "\x00", "9" * 30]))
        + text[at + data.draw(st.integers(0, 3)) :]
    )
    lines = pbtxt.lines(damaged)
    try:
        config = pbtxt.parse(damaged)
    except RepositoryError:
        return
    assert {
        place.path for place in mutate.places(config) if place.index is None and place.key is None and "." not in place.path
    } <= set(lines)


#: How tritonserver 2.51 (protobuf's C++ reader) takes each: does the model load, and if so what is its max_batch_size?
SYNTAX = {
    "list": ("max_batch_size: 4 " + seeds._io("IN", dims="[ 1, 2 ]"), True),
    "angle brackets": ('max_batch_size: 4 input < name: "IN" data_type: TYPE_FP32 dims: 1 >', True),
    "single quotes": ("max_batch_size: 4 input { name: 'IN' data_type: TYPE_FP32 dims: 1 }", True),
    "hexadecimal": ("max_batch_size: 0x4", True),
    "octal": ("max_batch_size: 04", True),
    "separators": ('max_batch_size: 4; input { name: "IN", data_type: TYPE_FP32; dims: 1 },', True),
    "enum by number": ('max_batch_size: 4 input { name: "IN" data_type: 11 dims: 1 }', True),
    "strings side by side": ('max_batch_size: 4 input { name: "I" \'N\' data_type: TYPE_FP32 dims: 1 }', True),
    "comment": ("# x\nmax_batch_size: 4 # y", True),
    "true as t": ("max_batch_size: 4 response_cache { enable: t }", True),
    "true as 1": ("max_batch_size: 4 response_cache { enable: 1 }", True),
    "no colon": ("max_batch_size 4", False),
    "float for int": ("max_batch_size: 4.0", False),
    "twice": ("max_batch_size: 4 max_batch_size: 4", False),
    "negative unsigned": ('max_batch_size: 4 instance_group { kind: KIND_CPU rate_limiter { priority: -1 } }', False),
    "oneof twice": ("max_batch_size: 4 sequence_batching { direct { } } dynamic_batching { }", False),
    "byte order mark": ("\ufeffmax_batch_size: 4", False),
    "unknown field": ("max_batch_size: 4 other: 1", False),
    "newer field": ("max_batch_size: 4 model_metrics { }", False),
    "quote left open": ('max_batch_size: 4 name: "m', False),
}  # fmt: skip


def test_odd_syntax_is_read_as_the_server_reads_it(tmp_path: Path) -> None:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    from generator import check
    from generator.server import Server

    names = {f"m{index}": title for index, title in enumerate(SYNTAX)}
    for name, title in names.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "model.py").write_text(seeds.IDLE)
        (tmp_path / name / "config.pbtxt").write_text(
            f'{SYNTAX[title][0]}\nbackend: "python"' if "left open" not in title else SYNTAX[title][0]
        )
    world, found = check.read(tmp_path, server=(2, 51), gpus=0)
    refused = {f.model for f in [*found, *check.check(world)] if f.level == "error"}
    with Server(tmp_path, model_control="explicit") as server, triton.InferenceServerClient(server.grpc_url) as client:
        for name, title in names.items():
            try:
                client.load_model(name)
                loaded = client.get_model_config(name).config.max_batch_size == 4
            except InferenceServerException:
                loaded = False
            assert (loaded, name not in refused) == (SYNTAX[title][1],) * 2, title


def test_hard_strings_reach_the_server(tmp_path: Path) -> None:
    import tritonclient.grpc as triton

    from generator.server import Server

    config = seeds.singles()["plain"].config
    assert config is not None
    texts = [text for text in HARD if "\x00" not in text]
    for index, text in enumerate(texts):
        config.parameters[f"{index} {text}"].string_value = text
    (tmp_path / "plain" / "1").mkdir(parents=True)
    (tmp_path / "plain" / "1" / "model.py").write_text(seeds.IDLE)
    (tmp_path / "plain" / "config.pbtxt").write_text(pbtxt.text(config), encoding="utf-8")
    with Server(tmp_path) as server, triton.InferenceServerClient(server.grpc_url) as client:
        served = client.get_model_config("plain").config
    assert {key: value.string_value for key, value in served.parameters.items()} == {f"{i} {t}": t for i, t in enumerate(texts)}
    assert text_format.MessageToString(pbtxt.parse(pbtxt.text(config))) == text_format.MessageToString(config)
