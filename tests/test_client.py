"""The client against a real tritonserver."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fake_ensemble
import numpy as np
import pytest

from generator import answers
from generator.client import AsyncClient, Classification, Client, Detections
from generator.errors import ClientError
from generator.server import Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, server: Callable[..., Server]) -> Server:
    return server(fake_ensemble.write(tmp_path_factory.mktemp("client"), second=True))


@pytest.fixture(scope="module")
def url(served: Server) -> str:
    return served.grpc_url


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def requests(url: str, model: str) -> int:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(url) as client:
        return int(client.get_inference_statistics(model).model_stats[0].inference_stats.success.count)


def test_detections_hold_only_the_valid_rows(url: str) -> None:
    with Client(url, "detector") as client:
        two, none = client.infer([b"2", b"0"])
    assert isinstance(two, Detections)
    assert isinstance(none, Detections)
    assert (len(two), len(none)) == (2, 0)
    assert two.labels == ("thing 0", "thing 1")
    np.testing.assert_array_equal(two.boxes, [[1, 2, 40, 30], [11, 12, 50, 40]])
    assert two.to_dict()["detections"][0] == {"label": "thing 0", "class": 0, "score": 0.9, "box": [1.0, 2.0, 40.0, 30.0]}
    assert none.to_dict() == {"detections": []}


def test_pictures_are_sent_in_batches_of_the_models_size_and_come_back_in_order(url: str) -> None:
    before = requests(url, "detector")
    with Client(url, "detector") as client:
        found = client.infer([str(count).encode() for count in (1, 2, 3, 4, 5, 0, 1)])
    assert [len(result) for result in found] == [1, 2, 3, 4, 5, 0, 1]
    assert requests(url, "detector") - before == 3  # 7 pictures, 3 a request


def test_a_model_without_batches_gets_a_request_a_picture(url: str) -> None:
    with Client(url, "classifier") as client:
        first, second = client.infer([b"3", b"8"])
    assert isinstance(first, Classification)
    assert (first.labels, second.labels) == (("kind 3", "kind 4"), ("kind 8", "kind 9"))
    assert first.to_dict()["classes"][1] == {"label": "kind 4", "class": 4, "score": 0.25}


def test_raw_gives_the_arrays_with_pictures_first(url: str) -> None:
    with Client(url, "detector") as client:
        arrays = client.raw([b"1", b"2", b"3", b"4"])
    assert arrays["det_boxes"].shape == (4, 5, 4)
    assert arrays["num_dets"].tolist() == [[1], [2], [3], [4]]
    with Client(url, "classifier") as client:
        assert client.raw([b"1", b"2"])["class_ids"].tolist() == [[1, 2], [2, 3]]


def test_a_refused_picture_is_named_with_the_servers_words(url: str, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_bytes(b"bad")
    with (
        Client(url, "detector") as client,
        pytest.raises(ClientError, match=r"notes\.jpg: the server answered: .*not a JPEG or PNG"),
    ):
        client.infer([b"1", bad])


def test_a_bad_picture_does_not_spoil_the_others_of_its_batch(url: str, tmp_path: Path) -> None:
    with Client(url, "detector") as client:
        one, refused, three, missing = client.infer_each([b"1", b"bad", b"3", tmp_path / "missing.png"])
    assert [len(result) for result in (one, three) if isinstance(result, Detections)] == [1, 3]
    assert isinstance(refused, ClientError)
    assert "image[1]: the server answered" in str(refused)
    assert isinstance(missing, ClientError)
    assert "missing.png: No such file" in str(missing)


def test_a_missing_model_is_answered_with_those_that_are_there(url: str) -> None:
    with (
        Client(url, "yolo") as client,
        pytest.raises(ClientError, match="no model 'yolo'; loaded: classifier, classifier_model, d"),
    ):
        client.infer([b"1"])


def test_two_ensembles_leave_no_choice(url: str) -> None:
    with Client(url) as client, pytest.raises(ClientError, match="2 ensembles: classifier, detector; name one"):
        client.infer([b"1"])


def test_a_model_that_takes_no_pictures_is_refused(url: str) -> None:
    with Client(url, "numbers") as client, pytest.raises(ClientError, match=r"'numbers' takes image TYPE_FP32\[1\]"):
        client.infer([b"1"])


def test_a_deadline_is_named(url: str) -> None:
    with Client(url, "detector", timeout=0.3) as client, pytest.raises(ClientError, match=r"did not answer within 0\.3 s"):
        client.infer([b"slow"])


def test_server_away(nobody: str) -> None:
    with Client(nobody, "detector") as client, pytest.raises(ClientError, match=f"{nobody}.*triton-repo serve"):
        client.infer([b"1"])


def test_the_http_port_is_recognised(served: Server) -> None:
    with (
        Client(served.http_url, "detector") as client,
        pytest.raises(ClientError, match="give the server's gRPC port"),
    ):
        client.infer([b"1"])


def test_an_address_of_another_form_is_refused() -> None:
    with pytest.raises(ClientError, match="give host:port"):
        Client("http://127.0.0.1:8001")


def test_no_noise_on_stderr_when_the_server_is_away(nobody: str) -> None:
    call = f"Client('{nobody}', 'x').infer([b'1'])"
    code = f"from generator.client import Client\ntry: {call}\nexcept Exception as e: print(type(e).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ClientError\n", "")


def test_async_results_and_failures_are_those_of_the_blocking_client(url: str, nobody: str) -> None:
    images = [b"1", b"2", b"bad", b"4", b"5", b"0", b"3"]

    async def ask() -> list[object]:
        async with AsyncClient(url, "detector") as client:
            arrays = await client.raw([b"1", b"2", b"3", b"4"])
            assert arrays["num_dets"].tolist() == [[1], [2], [3], [4]]
            return list(await client.infer_each(images))

    found = asyncio.run(ask())
    assert [len(result) if isinstance(result, Detections) else str(result)[:8] for result in found] == [
        1,
        2,
        "image[2]",
        4,
        5,
        0,
        3,
    ]

    async def ask_nobody() -> None:
        async with AsyncClient(nobody, "detector") as client:
            await client.infer([b"1"])

    with pytest.raises(ClientError, match="no Triton server answers"):
        asyncio.run(ask_nobody())


def test_more_boxes_than_rows_is_an_error_and_not_a_short_list() -> None:
    arrays = {
        "num_dets": np.array([3], np.int32), "det_boxes": np.zeros((2, 4), np.float32),
        "det_scores": np.zeros(2, np.float32), "det_classes": np.zeros(2, np.int32),
    }  # fmt: skip
    with pytest.raises(ClientError, match="counts 3 boxes and sent 2 rows"):
        answers.answer("m", arrays)


def test_labels_are_class_numbers_where_the_model_has_none() -> None:
    found = answers.answer("m", {"class_scores": np.array([0.5], np.float32), "class_ids": np.array([7], np.int32)})
    assert found.labels == ("7",)
    with pytest.raises(ClientError, match="neither detections nor classes"):
        answers.answer("m", {"embedding": np.zeros(4, np.float32)})
