"""The server-side models on a real tritonserver: batches of different pictures, bad ones beside good ones, labels on the wire."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served_code
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from generator import paths, pbtxt
from generator.postprocessing import Postprocess
from generator.postprocessing.classification import Classification
from generator.postprocessing.detections import Detections
from generator.preprocessing import ENCODED, GEOMETRY
from generator.preprocessing.letterbox import Letterbox
from generator.server import Server
from generator.tensors import Tensor, config_dtype, numpy_dtype

H, W, K = 48, 64, 4
#: Long enough that what is sent together becomes one execution.
GATHER = 400_000
CONTRACT = (
    Tensor("num_dets", "INT32", (1,)),
    Tensor("det_boxes", "FP32", (K, 4)),
    Tensor("det_scores", "FP32", (K,)),
    Tensor("det_classes", "INT32", (K,)),
)
LOGITS = (Tensor("logits", "FP32", (3,)),)


def write(
    repository: Path, name: str, template: str, tensors: tuple[Sequence[Tensor], Sequence[Tensor]], said: dict[str, str]
) -> Path:
    """A python model of one of the templates; returns its folder."""
    config = ModelConfig(name=name, backend="python", max_batch_size=8, default_model_filename="model.py")
    for target, given in zip((config.input, config.output), tensors, strict=True):
        for tensor in given:
            target.add(name=tensor.name, data_type=config_dtype(tensor.dtype), dims=tensor.shape)
    for key, value in said.items():
        config.parameters[key].string_value = value
    config.instance_group.add(count=1, kind="KIND_CPU")
    config.dynamic_batching.max_queue_delay_microseconds = GATHER
    config.dynamic_batching.preferred_batch_size.append(8)
    version = repository / name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(paths.templates() / "models" / template / "model.py", version / "model.py")
    (repository / name / "config.pbtxt").write_text(pbtxt.text(config), encoding="utf-8")
    return repository / name


def last(repository: Path, kind: Postprocess, outputs: tuple[Tensor, ...]) -> None:
    folder = write(repository, kind.template, kind.template, (kind.inputs(outputs), kind.outputs(outputs)), kind.parameters())
    assert kind.labels is not None
    shutil.copyfile(kind.labels, folder / "labels.txt")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labels") / "names.txt"
    file.write_text("cat\ndög\ntraffic light\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def client(
    server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory, names: Path
) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("images")
    write(folder, "image", "image", ((ENCODED,), Letterbox().outputs(H, W)), Letterbox().parameters(H, W))
    last(folder, Detections(labels=names), CONTRACT)
    last(folder, Classification(labels=names, top_k=2), LOGITS)
    with triton.InferenceServerClient(server(folder).grpc_url) as made:
        yield made


def encode(width: int, height: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    levels = np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(buffer, kind)
    return buffer.getvalue()


def inputs(arrays: dict[str, NDArray[Any]], tensors: Sequence[Tensor]) -> list[Any]:
    made = []
    for tensor in tensors:
        values = arrays[tensor.name].astype(numpy_dtype(tensor.dtype))
        made.append(triton.InferInput(tensor.name, list(values.shape), tensor.dtype))
        made[-1].set_data_from_numpy(values)
    return made


def request(pictures: Sequence[bytes]) -> list[Any]:
    return inputs({"image": np.array(pictures, np.object_).reshape(-1, 1)}, [ENCODED])


def expected(data: bytes) -> NDArray[np.uint8]:
    """By the reference, from Pillow's pixels."""
    rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return Letterbox().reference(rgb, H, W)[0]


def at_once(client: triton.InferenceServerClient, requests: Sequence[list[Any]], model: str = "image") -> tuple[list[Any], int]:
    """Results or errors of requests sent together, and how many executions the server counted for them."""
    before = executions(client, model)
    waiting: list[Future[Any]] = []
    for tensors in requests:
        future: Future[Any] = Future()
        waiting.append(future)
        client.async_infer(
            model, tensors, lambda result, error, future=future: future.set_result(error or result), client_timeout=60
        )
    answers = [future.result(60) for future in waiting]
    return answers, executions(client, model) - before


def executions(client: triton.InferenceServerClient, model: str) -> int:
    (counted,) = client.get_inference_statistics(model).model_stats
    return int(counted.execution_count)


def test_pictures_of_different_sizes_in_one_batch(client: triton.InferenceServerClient) -> None:
    sizes = [(64, 48), (30, 90), (1, 1), (301, 17), (1, 700)]
    pictures = [encode(*size, "PNG" if i % 2 else "JPEG") for i, size in enumerate(sizes)]
    result = client.infer("image", request(pictures))
    pixels, geometry = result.as_numpy("pixels"), result.as_numpy("geometry")
    assert pixels.shape == (5, H, W, 3)
    assert pixels.dtype == np.uint8
    for row, data in enumerate(pictures):
        assert np.abs(pixels[row].astype(int) - expected(data)).max() <= 1, sizes[row]
    assert geometry[:, 4:].tolist() == [list(size) for size in sizes]
    assert GEOMETRY.shape == geometry.shape[1:]


def test_a_bad_picture_costs_its_own_request_only(client: triton.InferenceServerClient) -> None:
    """Requests of one execution, told from the server's statistics: the good ones are answered with their own pixels."""
    good = [encode(40 + i, 30) for i in range(5)]
    sent = [[good[0]], [good[1]], [good[2][:-200]], [b"text"], [good[3], good[4]], [b""]]
    answers, runs = at_once(client, [request(pictures) for pictures in sent])
    assert runs == 1, "the requests were meant to meet"
    for answer, pictures in ((answers[0], good[:1]), (answers[1], good[1:2]), (answers[4], good[3:5])):
        assert not isinstance(answer, InferenceServerException), answer
        for row, data in enumerate(pictures):
            assert np.abs(answer.as_numpy("pixels")[row].astype(int) - expected(data)).max() <= 1
    messages = [answers[i].message() for i in (2, 3, 5)]
    assert "image[0] of 1: cannot be decoded: image file is truncated" in messages[0]
    assert "image[0] of 1: neither JPEG nor PNG: it begins with b'text'" in messages[1]
    assert "image[0] of 1: no bytes" in messages[2]
    assert [answers[i].status() for i in (2, 3, 5)] == ["StatusCode.INVALID_ARGUMENT"] * 3


def test_a_request_of_several_pictures_names_the_bad_one(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"image\[1\] of 3: neither JPEG nor PNG"):
        client.infer("image", request([encode(9, 9), b"text", encode(8, 8)]))


def test_a_picture_of_10000_x_10000(client: triton.InferenceServerClient) -> None:
    buffer = io.BytesIO()
    Image.new("L", (10000, 10000), 77).save(buffer, "PNG", compress_level=1)
    result = client.infer("image", request([buffer.getvalue()]), client_timeout=120)
    pixels, geometry = result.as_numpy("pixels")[0], result.as_numpy("geometry")[0]
    assert geometry.tolist() == pytest.approx([H / 10000, H / 10000, (W - H) / 2, 0, 10000, 10000])
    assert (pixels[:, 8:-8] == 77).all()
    assert (pixels[:, :8] == 114).all()


def test_more_pixels_than_the_limit(client: triton.InferenceServerClient) -> None:
    buffer = io.BytesIO()
    Image.new("1", (12000, 10001)).save(buffer, "PNG")
    with pytest.raises(InferenceServerException, match="12000 x 10001 pixels, at most 120000000 are decoded"):
        client.infer("image", request([buffer.getvalue()]))


def test_detections_and_their_labels(client: triton.InferenceServerClient, names: Path) -> None:
    kind = Detections(labels=names)
    arrays: dict[str, NDArray[Any]] = {
        "num_dets": np.array([[3], [0]]),
        "det_boxes": np.random.default_rng(0).uniform(-20, 80, (2, K, 4)),
        "det_scores": np.full((2, K), 0.5),
        "det_classes": np.tile(np.array([1, 2, 93, 0]), (2, 1)),
        "geometry": np.array([[0.5, 0.5, 4, 6, 100, 60], [1, 1, 0, 0, 10, 10]]),
    }
    result = client.infer("detections", inputs(arrays, kind.inputs(CONTRACT)))
    typed = {t.name: arrays[t.name].astype(numpy_dtype(t.dtype)) for t in kind.inputs(CONTRACT)}
    wanted = kind.reference(typed, typed["geometry"])
    assert result.as_numpy("det_labels")[0].tolist() == [b"d\xc3\xb6g", b"traffic light", b"class 93", b""]
    for tensor in kind.outputs(CONTRACT):
        answer = result.as_numpy(tensor.name)
        assert answer.shape == (2, *tensor.shape)
        if tensor.dtype == "FP32":
            assert answer == pytest.approx(wanted[tensor.name], abs=1e-4)
        else:
            assert answer.tolist() == wanted[tensor.name].tolist()


def test_classes_and_their_labels(client: triton.InferenceServerClient, names: Path) -> None:
    result = client.infer("classification", inputs({"logits": np.array([[1, 5, 5], [3, 2, 1]])}, LOGITS))
    assert result.as_numpy("class_ids").tolist() == [[1, 2], [0, 1]]
    assert result.as_numpy("class_labels").tolist() == [[b"d\xc3\xb6g", b"traffic light"], [b"cat", b"d\xc3\xb6g"]]
    assert result.as_numpy("class_scores")[1] == pytest.approx([0.66524, 0.24473], abs=1e-5)


def test_requests_of_one_execution_get_their_own_rows(client: triton.InferenceServerClient) -> None:
    """Two requests, of one row and of two, gathered into one run of each last step."""
    logits = [np.array([[1, 2, 3]]), np.array([[9, 0, 1], [0, 9, 1]])]
    answers, runs = at_once(client, [inputs({"logits": values}, LOGITS) for values in logits], "classification")
    assert runs == 1, "the requests were meant to meet"
    assert [answer.as_numpy("class_ids").tolist() for answer in answers] == [[[2, 1]], [[0, 2], [1, 2]]]
    sent = []
    for classes in ([0], [1, 2]):
        n = len(classes)
        rows = {"num_dets": np.ones((n, 1)), "det_scores": np.ones((n, K)), "det_boxes": np.ones((n, K, 4))}
        rows |= {"det_classes": np.array(classes)[:, None].repeat(K, axis=1), "geometry": np.ones((n, 6))}
        sent.append(inputs(rows, (*CONTRACT, GEOMETRY)))
    answers, runs = at_once(client, sent, "detections")
    assert runs == 1, "the requests were meant to meet"
    assert [answer.as_numpy("det_labels")[:, 0].tolist() for answer in answers] == [[b"cat"], [b"d\xc3\xb6g", b"traffic light"]]


def test_the_server_runs_the_file_that_the_tests_import(client: triton.InferenceServerClient) -> None:
    """One file is served, verified and tested: its own decoder and letterbox give the served pixels exactly."""
    image, data = served_code.load("image"), encode(77, 31)
    settings = image.Settings.from_config(served_code.config(Letterbox().parameters(H, W), H, W))
    pixels, geometry = image.prepare(image.decode(data, settings.max_pixels), settings)
    result = client.infer("image", request([data]))
    assert (result.as_numpy("pixels")[0] == pixels).all()
    assert result.as_numpy("geometry")[0].tolist() == geometry.tolist()
