"""The stand-in pytorch backend, on a real server, with TorchScript small enough to know every answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from torch import Tensor, nn
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from generator.errors import ServerError
from generator.server import Server


class Same(nn.Module):
    """x -> x, and the number of rows in the run that computed it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.full([x.shape[0]], x.shape[0], dtype=torch.int64)


class Less(nn.Module):
    """Two inputs that are not to be confused."""

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return first - second, second


class Table(nn.Module):
    """An index outside the table fails, as bad data does."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([10, 11, 12, 13])[x]


class Words(nn.Module):
    """Strings are lists."""

    def forward(self, words: list[str]) -> tuple[list[str], Tensor]:
        return [word.upper() for word in words], torch.tensor([len(word) for word in words])


class Named(nn.Module):
    """A dictionary of tensors in."""

    def forward(self, values: dict[str, Tensor]) -> Tensor:
        return values["a"] * 10 + values["b"]


class Number(nn.Module):
    """A scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


class Listed(nn.Module):
    """Tensors in a list, which the backend does not take."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x]


class Optioned(nn.Module):
    """An argument of another kind."""

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return x * scale


def tensor(name: str, dtype: str = "FP32", dims: str = "4") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{dtype} dims: [{dims}] }}'


def config(inputs: str = tensor("INPUT__0"), outputs: str = tensor("OUTPUT__0"), more: str = "", batch: int = 8) -> str:
    one = 'parameters { key: "INTRA_OP_THREAD_COUNT" value { string_value: "1" } }\n'
    return (
        f"max_batch_size: {batch}\ninput [{inputs}]\noutput [{outputs}]\n"
        f"instance_group [{{ kind: KIND_CPU count: 1 }}]\n{one}{more}"
    )  # fmt: skip


def write(folder: Path, name: str, module: nn.Module, text: str, file: str = "model.pt") -> None:
    version = folder / name / "1"
    version.mkdir(parents=True)
    torch.jit.save(torch.jit.script(module), version / file)
    (folder / name / "config.pbtxt").write_text(f'name: "{name}"\nplatform: "pytorch_libtorch"\n{text}')


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


TUNED = "".join(
    parameter(key, value)
    for key, value in {
        "DISABLE_OPTIMIZED_EXECUTION": "True", "INFERENCE_MODE": "off", "DISABLE_CUDNN": "1", "ENABLE_WEIGHT_SHARING": "true",
        "ENABLE_CACHE_CLEANING": "0", "ENABLE_JIT_PROFILING": "false", "ENABLE_JIT_EXECUTOR": "on", "ENABLE_TENSOR_FUSER": "0",
        "INTER_OP_THREAD_COUNT": "2 threads",
    }.items()
)  # fmt: skip
GATHER = "dynamic_batching { max_queue_delay_microseconds: 1000000 preferred_batch_size: [ 6 ] }\n"
PAIR = f"{tensor('OUTPUT__0')}, {tensor('OUTPUT__1')}"


def gathered(folder: Path) -> None:
    rows = '{ name: "OUTPUT__1" data_type: TYPE_INT64 dims: [1] reshape { shape: [] } }'
    write(folder, "gathered", Same(), config(outputs=f"{tensor('OUTPUT__0')}, {rows}", more=GATHER))


@pytest.fixture(scope="module")
def client(server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    """Few models: each holds a torch of its own."""
    folder = tmp_path_factory.mktemp("standin_pytorch")
    gathered(folder)
    write(folder, "indices", Less(), config(f"{tensor('INPUT__1')}, {tensor('A__0')}", f"{tensor('B__1')}, {tensor('C__0')}"))
    one, two = tensor("OUTPUT__0", "STRING", "-1"), tensor("OUTPUT__1", "INT64", "-1")
    write(folder, "words", Words(), config(tensor("words", "STRING", "-1"), f"{one}, {two}", batch=0))
    number, other = tensor("OUTPUT__0", "INT64", "1"), 'default_model_filename: "other.pt"\n'
    write(folder, "table", Table(), config(tensor("x", "INT64", "1"), number, GATHER + other), "other.pt")
    write(folder, "lies", Same(), config(outputs=tensor("OUTPUT__0", "INT32"), batch=0))
    with triton.InferenceServerClient(server(folder).grpc_url) as made:
        yield made


@pytest.fixture(scope="module")
def others(server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    """The rest."""
    folder = tmp_path_factory.mktemp("standin_pytorch_others")
    write(folder, "arguments", Less(), config(f"{tensor('second')}, {tensor('first')}", PAIR))
    write(folder, "ordered", Less(), config(f"{tensor('q')}, {tensor('p')}", f"{tensor('y')}, {tensor('z')}", TUNED))
    write(folder, "half", Same(), config(tensor("x", "FP16"), tensor("OUTPUT__0", "FP16"), batch=0))
    write(folder, "flags", Same(), config(tensor("x", "BOOL"), tensor("OUTPUT__0", "BOOL")))
    write(folder, "named", Named(), config(f"{tensor('b')}, {tensor('a')}", batch=0))
    write(folder, "number", Number(), config(batch=0))
    write(folder, "listed", Listed(), config(batch=0))
    write(folder, "missing", Same(), config(outputs=tensor("OUTPUT__5"), batch=0))
    with triton.InferenceServerClient(server(folder).grpc_url) as made:
        yield made


def given(name: str, values: Any) -> triton.InferInput:
    found = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    found.set_data_from_numpy(values)
    return found


ONE, TWO = np.array([[1, 2, 3, 4]], np.float32), np.array([[10, 20, 30, 40]], np.float32)


def swapped(client: Any, model: str, names: tuple[str, str], outputs: tuple[str, str]) -> None:
    """Less, called by names in another order."""
    answer = client.infer(model, [given(name, values) for name, values in zip(names, (ONE, TWO), strict=True)])
    assert (answer.as_numpy(outputs[0]) == ONE - TWO).all()
    assert (answer.as_numpy(outputs[1]) == TWO).all()


def test_indices_lead_to_arguments_and_results(client: Any) -> None:
    swapped(client, "indices", ("A__0", "INPUT__1"), ("C__0", "B__1"))


@pytest.mark.full
def test_so_do_names_of_arguments(others: Any) -> None:
    swapped(others, "arguments", ("first", "second"), ("OUTPUT__0", "OUTPUT__1"))


@pytest.mark.full
def test_other_names_go_by_the_order_of_the_config_and_parameters_are_taken(others: Any) -> None:
    swapped(others, "ordered", ("q", "p"), ("y", "z"))


@pytest.mark.full
def test_types_travel(others: Any) -> None:
    half, flags = np.arange(4, dtype=np.float16), np.array([[True, False, True, True]])
    assert (others.infer("half", [given("x", half)]).as_numpy("OUTPUT__0") == half).all()
    assert (others.infer("flags", [given("x", flags)]).as_numpy("OUTPUT__0") == flags).all()


def test_strings_are_lists(client: Any) -> None:
    words = np.array([b"one", "zwölf".encode()], dtype=object)
    answer = client.infer("words", [given("words", words)])
    assert [word.decode() for word in answer.as_numpy("OUTPUT__0")] == ["ONE", "ZWöLF"], "TorchScript's upper is ASCII's"
    assert answer.as_numpy("OUTPUT__1").tolist() == [3, 6], "and its len counts bytes"


def test_bytes_that_are_no_text(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="input 'words' holds bytes that are not UTF-8"):
        client.infer("words", [given("words", np.array([b"\xff"], dtype=object))])


@pytest.mark.full
def test_a_dictionary_goes_in_by_its_keys(others: Any) -> None:
    answer = others.infer("named", [given("a", ONE[0]), given("b", TWO[0])])
    assert (answer.as_numpy("OUTPUT__0") == ONE[0] * 10 + TWO[0]).all()


def together(client: Any, model: str, name: str, inputs: list[Any]) -> list[Any]:
    """Each input as a request of its own, all at once; the answers or errors in order."""
    answers: list[Any] = [None] * len(inputs)
    done = threading.Semaphore(0)

    def receive(index: int, result: Any, error: Any) -> None:
        answers[index] = error or result
        done.release()

    for index, values in enumerate(inputs):
        client.async_infer(model, [given(name, values)], lambda result, error, i=index: receive(i, result, error))
    for _ in inputs:
        assert done.acquire(timeout=60)
    return answers


def test_requests_are_batched_into_one_run(client: Any) -> None:
    inputs = [np.full((rows, 4), index, np.float32) for index, rows in enumerate((1, 2, 3))]
    for values, answer in zip(inputs, together(client, "gathered", "INPUT__0", inputs), strict=True):
        assert (answer.as_numpy("OUTPUT__0") == values).all()
        assert answer.as_numpy("OUTPUT__1").tolist() == [[6]] * len(values), "rows in the run, as the model itself counted them"


def test_a_bad_request_fails_alone(client: Any) -> None:
    answers = together(client, "table", "x", [np.array([[i]], np.int64) for i in (0, 1, 99, 2, 3, 0)])
    assert isinstance(answers[2], InferenceServerException)
    assert "pytorch: " in str(answers[2])
    assert "out of" in str(answers[2])
    assert [answers[i].as_numpy("OUTPUT__0").tolist() for i in (0, 1, 3, 4, 5)] == [[[10]], [[11]], [[12]], [[13]], [[10]]]


def test_a_type_that_only_a_request_shows(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="'OUTPUT__0' is TYPE_FP32 in the model, and the config says TYPE_INT32"):
        client.infer("lies", [given("INPUT__0", ONE[0])])


@pytest.mark.full
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("number", "output 'OUTPUT__0' is a scalar, which is not supported"),
        ("listed", "the model returns list; a tensor, a list of str or a tuple of those is expected"),
        ("missing", "output 'OUTPUT__5' is not there: the model gives 2"),
    ],
)
def test_what_only_a_request_shows(others: Any, model: str, reason: str) -> None:
    with pytest.raises(InferenceServerException, match=reason):
        others.infer(model, [given("INPUT__0", ONE[0])])


STATE = 'sequence_batching { state [{ input_name: "INPUT__1" output_name: "OUTPUT__1" data_type: TYPE_FP32 dims: [4] }] }\n'
BAD: dict[str, tuple[nn.Module, str, str]] = {
    "count": (Less(), config(), "takes 2 inputs, and the config names 1"),
    "twice": (Less(), config(f"{tensor('A__0')}, {tensor('B__0')}", PAIR), "do not name each of its 2 arguments once"),
    "beyond": (Same(), config(tensor("INPUT__3")), "do not name each of its 1 arguments once"),
    "unsigned": (Same(), config(tensor("x", "UINT16")), "input 'x' is TYPE_UINT16, which the pytorch backend does not carry"),
    "brain": (Same(), config(outputs=tensor("OUTPUT__0", "BF16")), "output 'OUTPUT__0' is TYPE_BF16, which the pytorch backend"),
    "wide": (Words(), config(tensor("words", "STRING", "-1")), "input 'words' is TYPE_STRING with 2 dimensions; one is all"),
    "argument": (Optioned(), config(f"{tensor('x')}, {tensor('scale')}"), "takes 'scale', which is a float"),
    "flag": (Same(), config(more=parameter("INFERENCE_MODE", "perhaps")), "has parameter INFERENCE_MODE 'perhaps'"),
    "threads": (Same(), config(more=parameter("INTER_OP_THREAD_COUNT", "many")), "'many'; an integer is expected"),
    "state": (Less(), config(outputs=tensor("OUTPUT__0"), more=STATE), "keeps implicit state"),
    "ragged": (Same(), config(tensor("x")[:-1] + "allow_ragged_batch: true }"), "allows ragged batches of input 'x'"),
    "gone": (Same(), config(more='default_model_filename: "gone.pt"\n'), "has no file"),
    "broken": (Same(), config(), "cannot be loaded by torch"),
    "package": (Same(), config(), "unexpected 'platform' and 'backend' pair, got:torch_aoti"),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one server says about every bad model at once: name -> the whole message."""
    folder = tmp_path_factory.mktemp("refused_pytorch")
    for name, (module, text, _) in BAD.items():
        write(folder, name, module, text)
    (folder / "broken" / "1" / "model.pt").write_bytes(b"not an archive")
    package = folder / "package" / "config.pbtxt"
    package.write_text(package.read_text().replace("pytorch_libtorch", "torch_aoti") + 'backend: "pytorch"\n')
    with pytest.raises(ServerError) as caught:
        Server(folder).start()
    return dict(part.split("': ", 1) for part in caught.value.message.split("model '")[1:])


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_does_not_fit_is_refused(refused: dict[str, str], name: str) -> None:
    assert BAD[name][2] in refused[name]


def test_without_torch_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "m", Same(), config())
    monkeypatch.setattr("generator.standins.variables", lambda: {"TRITON_REPO_STANDIN_PYTORCH": str(tmp_path)})
    with pytest.raises(ServerError, match=f"needs torch, which is not there \\(TRITON_REPO_STANDIN_PYTORCH names {tmp_path}\\)"):
        Server(tmp_path).start()
