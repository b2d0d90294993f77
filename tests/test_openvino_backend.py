"""The stand-in OpenVINO backend, on a real server: what the C++ backend does with the same configs and requests.

Every row was also held against the C++ backend itself, built from its sources for this server (docs/openvino.md, last part).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino_models
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper
from openvino_models import PADDED, doubled, parameter, write
from test_standin_backend import call, nonzero, nonzero_config, settled, together, two_config, two_outputs
from tiny_models import model, tensors
from tritonclient.utils import InferenceServerException

from generator import check
from generator.errors import ServerError
from generator.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FREE = "max_batch_size: 0\n" + tensors(dims="-1, 4")
FOUR = "max_batch_size: 4\n" + tensors()
GATHER = "dynamic_batching { max_queue_delay_microseconds: 500000 }\n"
TUNED = (
    parameter("NUM_STREAMS", "auto") + parameter("INFERENCE_NUM_THREADS", "1")
    + parameter("PERFORMANCE_HINT", "latency") + parameter("other", "what") + parameter("TARGET_DEVICE", "cpu")
)  # fmt: skip


@pytest.fixture(scope="module")
def client(server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("openvino")
    write(folder, "free", doubled(), FREE + TUNED)
    write(folder, "bare", doubled(), FOUR)
    write(folder, "padded", doubled(), FOUR + PADDED)
    write(folder, "gathered", doubled(), FOUR + PADDED + GATHER)
    write(folder, "half", doubled(TensorProto.FLOAT16), FREE)  # the config says FP32, and the backend converts
    write(folder, "two", two_outputs(), "max_batch_size: 0\n" + two_config().replace("[4]", "[-1, 4]"))
    write(folder, "nonzero", nonzero(), "max_batch_size: 0\n" + nonzero_config().replace("INT64 dims: [1", "INT32 dims: [1"))
    write(folder, "reshaped", doubled(), FREE.replace("-1, 4", "3, 4") + parameter("RESHAPE_IO_LAYERS", "YES"))
    write(folder, "onnx", doubled(), FREE + 'default_model_filename: "model.onnx"\n')
    onnx.save(doubled(), folder / "onnx" / "1" / "model.onnx")
    with triton.InferenceServerClient(server(folder).grpc_url) as made:
        yield made


def x(rows: int) -> np.ndarray[Any, Any]:
    return np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("free", 1), ("free", 7), ("free", 2), ("bare", 4), ("half", 3), ("reshaped", 3), ("onnx", 2), ("onnx", 5)],
)
def test_rows_that_a_model_takes(client: triton.InferenceServerClient, name: str, rows: int) -> None:
    y = call(client, name, x(rows))
    assert y.dtype == np.float32
    assert (y == 2 * x(rows)).all()


@pytest.mark.parametrize("rows", [1, 3])
def test_max_batch_size_is_the_only_number_of_rows_without_padding(client: triton.InferenceServerClient, rows: int) -> None:
    with pytest.raises(InferenceServerException, match=f"requests of 4 rows are expected, and {rows} came.*ENABLE_BATCH_PADDING"):
        call(client, "bare", x(rows))


def test_after_padding_a_full_batch_fails_as_in_the_cpp_backend(client: triton.InferenceServerClient) -> None:
    assert (call(client, "padded", x(4)) == 2 * x(4)).all(), "nothing was filled up yet"
    assert (call(client, "padded", x(3)) == 2 * x(3)).all()
    with pytest.raises(InferenceServerException, match="output 'y' has 3 rows left of 4"):
        call(client, "padded", x(4))
    assert (call(client, "padded", x(1)) == 2 * x(1)).all()


def test_requests_are_joined(client: triton.InferenceServerClient) -> None:
    inputs = [x(1), 5 + x(2)]
    answers = together(client, "gathered", inputs)
    assert all((answer.as_numpy("y") == 2 * value).all() for answer, value in zip(answers, inputs, strict=True))
    seen = settled(client, "gathered")
    assert (seen.inference_count, seen.execution_count) == (3, 1)


def test_only_the_requested_output_is_sent_and_lengths_may_depend_on_the_data(client: triton.InferenceServerClient) -> None:
    assert (call(client, "two", -x(2), "z") == x(2)).all()
    assert call(client, "nonzero", np.array([0, 5, 0, 7], np.float32)).tolist() == [[1, 3]]


#: name, model, config, what the stand-in says, the checker's rule (None: only OpenVINO itself can tell).
BAD: list[tuple[onnx.ModelProto, str, str, str | None]] = [
    (doubled(), FREE.replace("KIND_CPU", "KIND_GPU"), "instance group", "openvino/instances"),
    (doubled(), FREE + 'default_model_filename: "gone.xml"\n', "has no file", "openvino/file"),
    (doubled(), FREE.replace('"y"', '"q"'), "has no output 'q', which the config names; it has ['y']", "openvino/names"),
    (doubled(), FREE.replace('"x"', '"q"'), "has no input 'q', which the config names; it has ['x']", "openvino/names"),
    (doubled(), FREE.replace("FP32", "FP64"), "is TYPE_FP64, which the OpenVINO backend does not carry", "openvino/data_type"),
    (doubled(), FREE.replace("-1, 4", "-1, 5"), "input 'x' has shape [?,4] in the model", "openvino/dims"),
    (doubled(), FREE.replace("-1, 4", "-1, -1"), "input 'x' has shape [?,4] in the model", "openvino/dims"),
    (doubled(), FREE.replace("-1, 4", "4"), "input 'x' has shape [?,4] in the model", "openvino/dims"),
    (doubled(), FOUR.replace("[4]", "[5]"), "the config says [4, 5] (the first is max_batch_size)", "openvino/dims"),
    (doubled(), FREE + parameter("NUM_STREAMS", "many"), "NUM_STREAMS 'many'; AUTO, NUMA or a number", "openvino/parameter"),
    (doubled(), FREE + parameter("INFERENCE_NUM_THREADS", "-1"), "INFERENCE_NUM_THREADS '-1'; a number", "openvino/parameter"),
    (doubled(), FREE + parameter("HINT_BF16", "NO"), "HINT_BF16 'NO'; YES is expected", "openvino/parameter"),
    (doubled(), FREE + parameter("PERFORMANCE_HINT", "fast"), "PERFORMANCE_HINT 'fast'; LATENCY, THR", "openvino/parameter"),
    (doubled(), FREE + parameter("COMPILATION_NUM_THREADS", "1"), "COMPILATION_NUM_THREADS '1', which CPU", "openvino/parameter"),
    (doubled(), FREE + parameter("TARGET_DEVICE", "NPX"), "cannot be compiled for NPX", None),
    (
        model(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            {"x": (TensorProto.FLOAT, ("N", 4)), "w": (TensorProto.FLOAT, ("N", 4))}, {"y": (TensorProto.FLOAT, ("N", 4))},
        ),
        FREE, "has 2 inputs, ['x', 'w'], and the config has 1, ['x']", "openvino/names",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    for index, (made, config, _, _) in enumerate(BAD):
        write(folder, f"bad{index}", made, config)
    (write(folder, "truncated", doubled(), FREE) / "1" / "model.xml").write_text("<net version='11'><layers>")
    return folder


@pytest.fixture(scope="module")
def refused(bad: Path) -> str:
    """What one server says about every bad model at once."""
    with pytest.raises(ServerError) as caught:
        Server(bad).start()
    return caught.value.message


@pytest.mark.parametrize("index", range(len(BAD)))
def test_a_config_that_does_not_fit_is_refused(refused: str, bad: Path, index: int) -> None:
    _, _, reason, rule = BAD[index]
    said = next(part for part in refused.split("model 'bad") if part.startswith(f"{index}'"))
    assert reason in said or reason == "instance group", said
    found = {f.rule for f in check.check(check.read(bad, strict=True)[0]) if f.level == "error" and f.model == f"bad{index}"}
    assert found == ({rule} if rule else set())


def test_a_truncated_model_is_refused(refused: str) -> None:
    assert "model 'truncated': cannot be read: OpenVINO 2026.4.1: Start-end tags mismatch" in refused


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "m", doubled(), FREE)
    monkeypatch.setattr("generator.standins._FRAMEWORKS", {})
    with pytest.raises(ServerError, match=r"needs the package openvino.*`triton-repo build` of a spec with `target"):
        Server(tmp_path).start()


def test_the_environment_is_where_the_server_looks() -> None:
    from generator import standins

    assert standins.variables()["TRITON_REPO_STANDIN_OPENVINO"] == str(openvino_models.folder())
