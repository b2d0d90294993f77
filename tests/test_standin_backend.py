"""The stand-in onnxruntime backend, on a real server, with models small enough to know every answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper, numpy_helper
from tiny_models import identity, model, tensors, write
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from generator.errors import ServerError
from generator.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BATCHED = "max_batch_size: 8\n"
PLAIN = "max_batch_size: 0\n"
#: Long enough that requests sent together are gathered into one execution.
GATHER = "dynamic_batching { max_queue_delay_microseconds: 1000000 preferred_batch_size: [ 6 ] }\n"


def lookup() -> onnx.ModelProto:
    """y = table[x]: an index outside the table makes ONNX Runtime fail, as bad data does."""
    table = numpy_helper.from_array(np.array([10, 11, 12, 13], np.float32), "table")
    return model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ("N", 1))},
        {"y": (TensorProto.FLOAT, ("N", 1))},
        [table],
    )


def rows() -> onnx.ModelProto:
    """Every element of y is the number of rows in the run that computed it; z is x."""
    first = numpy_helper.from_array(np.array(0, np.int64), "first")
    none = numpy_helper.from_array(np.array(0, np.float32), "none")
    return model(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["count"]),
            helper.make_node("Cast", ["count"], ["rows"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "none"], ["zeros"]),
            helper.make_node("Add", ["zeros", "rows"], ["y"]),
            helper.make_node("Identity", ["x"], ["z"]),
        ],
        {"x": (TensorProto.FLOAT, ("N", 4))},
        {"y": (TensorProto.FLOAT, ("N", 4)), "z": (TensorProto.FLOAT, ("N", 4))},
        [first, none],
    )


def two_outputs() -> onnx.ModelProto:
    return model(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        {"x": (TensorProto.FLOAT, ("N", 4))},
        {"y": (TensorProto.FLOAT, ("N", 4)), "z": (TensorProto.FLOAT, ("N", 4))},
    )


def nonzero() -> onnx.ModelProto:
    """An output whose length depends on the data, and may be nothing."""
    return model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ("n",))},
        {"y": (TensorProto.INT64, (1, "m"))},
    )


@pytest.fixture(scope="module")
def client(server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("standin")
    scalar = (
        'input [{ name: "x" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }]\n'
    )
    write(folder, "float", identity(), BATCHED + tensors())
    write(folder, "half", identity(TensorProto.FLOAT16), BATCHED + tensors("TYPE_FP16", "TYPE_FP16"))
    write(folder, "flag", identity(TensorProto.BOOL), BATCHED + tensors("TYPE_BOOL", "TYPE_BOOL"))
    write(folder, "text", identity(TensorProto.STRING), BATCHED + tensors("TYPE_STRING", "TYPE_STRING") + GATHER)
    write(folder, "scalar", identity(shape=("N",)), BATCHED + scalar)
    write(folder, "unbatched", identity(shape=(2, 3)), PLAIN + tensors(dims="2, 3"))
    write(folder, "free", identity(shape=("a", "b")), PLAIN + tensors(dims="-1, -1"))
    write(folder, "nonzero", nonzero(), PLAIN + nonzero_config())
    write(folder, "gathered", rows(), BATCHED + two_config() + GATHER)
    write(folder, "lookup", lookup(), BATCHED + tensors("TYPE_INT64", dims="1") + GATHER)
    write(folder, "two", two_outputs(), BATCHED + two_config())
    write(folder, "renamed", identity(), BATCHED + tensors() + 'default_model_filename: "other.onnx"\n', "other.onnx")
    write(folder, "several", identity(), BATCHED + tensors().replace("count: 1", "count: 2"))
    write(folder, "tuned", identity(), BATCHED + tensors() + TUNED)
    external(folder)
    with triton.InferenceServerClient(server(folder).grpc_url) as made:
        yield made


TUNED = (
    'parameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'
    'parameters { key: "inter_op_thread_count" value { string_value: "1" } }\n'
    'parameters { key: "execution_mode" value { string_value: "1" } }\n'
    'parameters { key: "enable_mem_arena" value { string_value: "false" } }\n'
    'parameters { key: "enable_mem_pattern" value { string_value: "0" } }\n'
    'optimization { graph { level: 2 } execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }\n'
)


def two_config() -> str:
    return tensors().replace("dims: [4] }]\ninstance", 'dims: [4] }, { name: "z" data_type: TYPE_FP32 dims: [4] }]\ninstance')


def nonzero_config() -> str:
    return 'input [{ name: "x" data_type: TYPE_FP32 dims: [-1] }]\noutput [{ name: "y" data_type: TYPE_INT64 dims: [1, -1] }]\n'


def external(folder: Path) -> None:
    """y = x + weight, with the weight in a file beside the model."""
    weight = numpy_helper.from_array(np.arange(1024, dtype=np.float32), "weight")
    made = model(
        [helper.make_node("Add", ["x", "weight"], ["y"])],
        {"x": (TensorProto.FLOAT, ("N", 1024))},
        {"y": (TensorProto.FLOAT, ("N", 1024))},
        [weight],
    )
    write(folder, "external", made, BATCHED + tensors(dims="1024"))
    path = folder / "external" / "1" / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="model.data", size_threshold=16)
    assert (path.parent / "model.data").stat().st_size >= 4096


def call(client: triton.InferenceServerClient, name: str, x: np.ndarray[Any, Any], output: str = "y") -> Any:
    tensor = triton.InferInput("x", x.shape, np_to_triton_dtype(x.dtype))
    tensor.set_data_from_numpy(x)
    return client.infer(name, [tensor], outputs=[triton.InferRequestedOutput(output)]).as_numpy(output)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("float", np.arange(8, dtype=np.float32).reshape(2, 4)),
        ("half", np.arange(4, dtype=np.float16).reshape(1, 4)),
        ("flag", np.array([[True, False, True, True]])),
        ("text", np.array([[b"a", b"", "é".encode(), b"longer text"]], dtype=object)),
        ("scalar", np.array([[3], [4]], np.float32)),
        ("unbatched", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("free", np.arange(6, dtype=np.float32).reshape(3, 2)),
        ("free", np.zeros((0, 5), np.float32)),
        ("renamed", np.ones((1, 4), np.float32)),
        ("several", np.ones((1, 4), np.float32)),
        ("tuned", np.ones((1, 4), np.float32)),
    ],
)
def test_what_goes_in_comes_out(client: triton.InferenceServerClient, name: str, x: np.ndarray[Any, Any]) -> None:
    y = call(client, name, x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert (y == x).all()


def test_output_of_data_dependent_length(client: triton.InferenceServerClient) -> None:
    assert call(client, "nonzero", np.array([0, 5, 0, 7], np.float32)).tolist() == [[1, 3]]
    assert call(client, "nonzero", np.zeros(4, np.float32)).shape == (1, 0)


def test_external_data_is_found(client: triton.InferenceServerClient) -> None:
    assert (call(client, "external", np.ones((1, 1024), np.float32))[0] == np.arange(1, 1025)).all()


def test_only_the_requested_output_is_sent(client: triton.InferenceServerClient) -> None:
    x = np.array([[1, -2, 3, -4]], np.float32)
    tensor = triton.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    answer = client.infer("two", [tensor], outputs=[triton.InferRequestedOutput("z")])
    assert [output.name for output in answer.get_response().outputs] == ["z"]
    assert answer.as_numpy("z").tolist() == [[1, 2, 3, 4]]
    both = client.infer("two", [tensor])
    assert both.as_numpy("y").tolist() == [[-1, 2, -3, 4]]
    assert both.as_numpy("z").tolist() == [[1, 2, 3, 4]]


def together(client: triton.InferenceServerClient, name: str, inputs: list[np.ndarray[Any, Any]]) -> list[Any]:
    """Each input as a request of its own, all at once; the answers or errors in order."""
    answers: list[Any] = [None] * len(inputs)
    done = threading.Semaphore(0)

    def receive(index: int, result: Any, error: Any) -> None:
        answers[index] = error or result
        done.release()

    for index, x in enumerate(inputs):
        tensor = triton.InferInput("x", x.shape, np_to_triton_dtype(x.dtype))
        tensor.set_data_from_numpy(x)
        client.async_infer(name, [tensor], lambda result, error, i=index: receive(i, result, error))
    for _ in inputs:
        assert done.acquire(timeout=30)
    return answers


def statistics(client: triton.InferenceServerClient, name: str) -> Any:
    return client.get_inference_statistics(name).model_stats[0]


def settled(client: triton.InferenceServerClient, name: str) -> Any:
    """Counted a moment after the answer was sent."""
    for _ in range(50):
        if (found := statistics(client, name)).inference_count:
            return found
        time.sleep(0.1)
    return found


def test_requests_are_batched_into_one_run(client: triton.InferenceServerClient) -> None:
    inputs = [np.full((rows, 4), index, np.float32) for index, rows in enumerate((1, 2, 3))]
    answers = together(client, "gathered", inputs)
    for x, answer in zip(inputs, answers, strict=True):
        assert (answer.as_numpy("z") == x).all()
        assert (answer.as_numpy("y") == np.full_like(x, 6)).all(), "rows in the run, as the model itself counted them"
    seen = settled(client, "gathered")
    assert (seen.inference_count, seen.execution_count) == (6, 1)
    assert [stats.batch_size for stats in seen.batch_stats] == [6]


def test_a_bad_request_fails_alone(client: triton.InferenceServerClient) -> None:
    answers = together(client, "lookup", [np.array([[i]], np.int64) for i in (0, 1, 99, 2, 3, 0)])
    assert isinstance(answers[2], InferenceServerException)
    assert "onnxruntime" in str(answers[2])
    assert [answers[i].as_numpy("y").tolist() for i in (0, 1, 3, 4, 5)] == [[[10]], [[11]], [[12]], [[13]], [[10]]]


def test_bytes_that_are_no_text_fail_alone(client: triton.InferenceServerClient) -> None:
    good, bad = np.array([[b"a"] * 4], dtype=object), np.array([[b"\xff", b"", b"", b""]], dtype=object)
    answers = together(client, "text", [good, bad, good, good, good, good])
    assert "'x' holds bytes that are not UTF-8" in str(answers[1])
    assert (answers[0].as_numpy("y") == good).all()
    assert (answers[5].as_numpy("y") == good).all()


BAD = [
    (BATCHED + tensors("TYPE_INT32"), "input 'x' is TYPE_FP32 in the model, and the config says TYPE_INT32"),
    (BATCHED + tensors(y="TYPE_FP16"), "output 'y' is TYPE_FP32 in the model, and the config says TYPE_FP16"),
    (
        BATCHED + tensors(dims="5"),
        "input 'x' has shape [-1, 4] in the model, and the config says [-1, 5] (the first is the batch",
    ),
    (BATCHED + tensors(dims="4, 1"), "input 'x' has shape [-1, 4] in the model, and the config says [-1, 4, 1]"),
    (PLAIN + tensors(), "input 'x' has shape [-1, 4] in the model, and the config says [4]"),
    (BATCHED + tensors().replace('"x"', '"q"'), "has input 'x', which the config does not name; configured are ['q']"),
    (BATCHED + tensors().replace('"y"', '"q"'), "has no output 'q', which the config names; it has ['y']"),
    (BATCHED + tensors() + 'default_model_filename: "gone.onnx"\n', "has no file"),
    (
        BATCHED + tensors() + 'parameters { key: "execution_mode" value { string_value: "7" } }\n',
        "parameter execution_mode 7; 0 (sequential) or 1 (parallel)",
    ),
    (
        BATCHED + tensors() + 'parameters { key: "enable_mem_arena" value { string_value: "perhaps" } }\n',
        "parameter enable_mem_arena 'perhaps'",
    ),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one server says about every bad model at once: name -> the whole message."""
    folder = tmp_path_factory.mktemp("refused")
    for index, (config, _) in enumerate(BAD):
        write(folder, f"bad{index}", identity(), config)
    write(folder, "fixed", identity(shape=(1, 4)), BATCHED + tensors())
    extra = model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ("N", 4)), "w": (TensorProto.FLOAT, ("N", 4))},
        {"y": (TensorProto.FLOAT, ("N", 4))},
    )
    write(folder, "extra", extra, BATCHED + tensors())
    write(folder, "broken", identity(), BATCHED + tensors())
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ServerError) as caught:
        Server(folder).start()
    return dict(part.split("': ", 1) for part in caught.value.message.split("model '")[1:])


@pytest.mark.parametrize("index", range(len(BAD)))
def test_a_config_that_does_not_fit_is_refused(refused: dict[str, str], index: int) -> None:
    assert BAD[index][1] in refused[f"bad{index}"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fixed", "whose first dimension is not free, so it cannot be batched"),
        ("extra", "has input 'w', which the config does not name"),
        ("broken", "cannot be loaded by ONNX Runtime"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(refused: dict[str, str], name: str, reason: str) -> None:
    assert reason in refused[name]
