"""Warm-up samples are the real thing: the server runs what a client would have sent."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_detector
import tiny_models
from numpy.typing import NDArray
from onnx import TensorProto, save

from generator import pbtxt, step_code
from generator.build import build, plan
from generator.cli import run
from generator.server import Server


def bare(folder: Path, serving: str) -> Path:
    """A bare identity model from `x` FP32[batch, 4] to `y`, with `serving:` as said."""
    folder.mkdir(parents=True, exist_ok=True)
    save(tiny_models.identity(), folder / "m.onnx")
    spec = folder / "m.yaml"
    spec.write_text(f"name: m\ncheckpoint: {{kind: onnx, file: m.onnx}}\nserving:\n{serving}")
    return spec


def text_model(folder: Path, serving: str) -> Path:
    """A bare identity model of strings."""
    folder.mkdir(parents=True, exist_ok=True)
    save(tiny_models.identity(TensorProto.STRING, ("N", 2)), folder / "m.onnx")
    spec = folder / "m.yaml"
    spec.write_text(f"name: m\ncheckpoint: {{kind: onnx, file: m.onnx}}\nserving:\n{serving}")
    return spec


def made(spec: Path, repository: Path) -> Path:
    build(plan([spec], repository), repository, lambda step, said: None)
    return repository


def test_a_picture_goes_through_every_step(tmp_path: Path) -> None:
    spec = tiny_detector.write(tmp_path / "spec", 31)
    spec.write_text(spec.read_text().replace("serving:\n", "serving:\n  warmup: {images: [wide.png, tall.jpg], count: 2}\n"))
    repository = made(spec, tmp_path / "repository")

    encoded = (tmp_path / "spec" / "wide.png").read_bytes()
    folder = repository / "tiny_preprocess"
    assert (folder / "warmup" / "image.0").read_bytes() == struct.pack("<I", len(encoded)) + encoded
    code = step_code.load(folder / "1" / "model.py")
    settings = code.Settings.from_config(step_code.as_json(folder / "config.pbtxt"))
    pixels, _ = code.prepare(code.decode(encoded, settings.max_pixels), settings)
    assert (repository / "tiny_model" / "warmup" / "pixels.0").read_bytes() == pixels.tobytes()
    assert len((repository / "tiny_postprocess" / "warmup" / "det_boxes.1").read_bytes()) == 20 * 4 * 4

    names = [(w.name, w.batch_size, w.count) for w in pbtxt.read(repository / "tiny_model" / "config.pbtxt").model_warmup]
    assert names == [("sample0_batch1", 1, 2), ("sample0_batch4", 4, 2), ("sample1_batch1", 1, 2), ("sample1_batch4", 4, 2)]
    assert not pbtxt.read(repository / "tiny" / "config.pbtxt").model_warmup
    with Server(repository, extra_args=["--log-verbose=1"]) as server:
        ran = [line for line in server.log.splitlines() if "is running warmup sample" in line]
        assert len([line for line in ran if "tiny_model" in line]) == 8
        assert len([line for line in ran if "tiny_preprocess" in line]) == 8
        assert len([line for line in ran if "tiny_postprocess" in line]) == 8


def test_a_bare_model_is_warmed_up_from_files(tmp_path: Path) -> None:
    spec = bare(tmp_path, "  warmup: {inputs: {x: x.npy}, batch_sizes: [3]}\n")
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.float32))
    repository = made(spec, tmp_path / "repository")
    assert (repository / "m" / "warmup" / "x.0").read_bytes() == np.arange(4, dtype=np.float32).tobytes()
    with Server(repository, extra_args=["--log-verbose=1"]) as server:
        assert "running warmup sample 'sample0_batch3'" in server.log
    np.save(tmp_path / "x.npy", np.ones(4, np.float32))
    assert not plan([spec], repository)[0].fresh  # the sample's bytes are part of the key


def test_strings_are_written_in_tritons_form(tmp_path: Path) -> None:
    spec = text_model(tmp_path, "  warmup: {inputs: {x: x.txt}, batch_sizes: [1]}\n")
    (tmp_path / "x.txt").write_bytes("grün\nrot\n".encode())
    repository = made(spec, tmp_path / "repository")
    data = (repository / "m" / "warmup" / "x.0").read_bytes()
    assert data == b"\x05\x00\x00\x00gr\xc3\xbcn\x03\x00\x00\x00rot"
    with Server(repository, extra_args=["--log-verbose=1"]) as server:
        assert "running warmup sample 'sample0_batch1'" in server.log


@pytest.mark.parametrize(
    ("serving", "values", "said"),
    [
        ("  warmup: {inputs: {x: x.npy}}\n", np.zeros(5, np.float32), "holds float32[5]; expected one row, float32[4]"),
        ("  warmup: {inputs: {x: x.npy}}\n", np.zeros(4, np.float64), "holds float64[4]; expected one row, float32[4]"),
        ("  warmup: {inputs: {x: x.npy}}\n", np.zeros((1, 4), np.float32), "holds float32[1, 4]; expected one row"),
        ("  warmup: {inputs: {z: x.npy}}\n", np.zeros(4, np.float32), "found nothing for the input 'x'"),
        ("  warmup: {inputs: {x: x.npy, z: x.npy}}\n", np.zeros(4, np.float32), "the model has no input 'z'; it has x"),
        ("  warmup: {images: [x.npy]}\n", np.zeros(4, np.float32), "is served bare and takes no pictures"),
        ("  warmup: {inputs: {x: gone.npy}}\n", None, "no such file"),
        ("  warmup: {inputs: {x: x.npy}, batch_sizes: [9]}\n", np.zeros(4, np.float32), "found 9 with max_batch_size 8"),
        ("  warmup: {inputs: {x: m.onnx}}\n", None, "is not a .npy file"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], serving: str, values: NDArray[Any] | None, said: str
) -> None:
    spec = bare(tmp_path, serving)
    if values is not None:
        np.save(tmp_path / "x.npy", values)
    assert run(["plan", str(spec), "-o", str(tmp_path / "repository")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "m.yaml:4: " in error


def test_the_server_refuses_a_file_that_is_too_short(tmp_path: Path) -> None:
    from generator import check
    from generator.errors import ServerError

    spec = bare(tmp_path, "  warmup: {inputs: {x: x.npy}}\n")
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.float32))
    repository = made(spec, tmp_path / "repository")
    (repository / "m" / "warmup" / "x.0").write_bytes(b"\0" * 12)
    world, _ = check.read(repository)
    assert [f.rule for f in check.check(world)] == ["warmup/file"] * 2
    with pytest.raises(ServerError, match="16 bytes"), Server(repository):
        pass


def test_labels_of_a_bare_model_come_with_the_top_classes(tmp_path: Path) -> None:
    import tritonclient.grpc as triton

    spec = bare(tmp_path, "  labels: {y: classes.txt}\n")
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\ndög\n", encoding="utf-8")
    repository = made(spec, tmp_path / "repository")
    with Server(repository) as server, triton.InferenceServerClient(server.grpc_url) as client:
        value = triton.InferInput("x", [2, 4], "FP32")
        value.set_data_from_numpy(np.array([[1, 4, 2, 3], [9, 6, 7, 8]], np.float32))
        answer = client.infer("m", [value], outputs=[triton.InferRequestedOutput("y", class_count=2)]).as_numpy("y")
    assert [[text.decode() for text in row] for row in answer] == [
        ["4.000000:1:bee", "3.000000:3:dög"],
        ["9.000000:0:ant", "8.000000:3:dög"],
    ]


@pytest.mark.parametrize(
    ("labels", "text", "said"),
    [
        ("y", "a\nb\n", "has 2 labels; expected as many as the last dimension of y FP32[batch, 4]"),
        ("z", "a\nb\n", "the model has no output 'z'; it has y"),
        ("y", "a\n\nb\nc\n", "classes.txt:2: a blank line"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, text: str, said: str
) -> None:
    spec = bare(tmp_path, f"  labels: {{{labels}: classes.txt}}\n")
    (tmp_path / "classes.txt").write_text(text)
    assert run(["plan", str(spec), "-o", str(tmp_path / "repository")]) == 1
    assert said in capsys.readouterr().err


def test_the_second_same_request_comes_from_the_cache(tmp_path: Path) -> None:
    import tritonclient.grpc as triton

    spec = bare(tmp_path, "  response_cache: true\n")
    repository = made(spec, tmp_path / "repository")
    with Server(repository) as server, triton.InferenceServerClient(server.grpc_url) as client:
        answers = []
        for first in (1, 1, 2):
            value = triton.InferInput("x", [1, 4], "FP32")
            value.set_data_from_numpy(np.array([[first, 4, 2, 3]], np.float32))
            answers.append(client.infer("m", [value]).as_numpy("y")[0, 0])
        counts = client.get_inference_statistics("m").model_stats[0].inference_stats
    assert answers == [1, 1, 2]
    assert (counts.cache_hit.count, counts.cache_miss.count) == (1, 2)


def test_a_cached_ensemble_answers_the_same(tmp_path: Path) -> None:
    import tritonclient.grpc as triton

    spec = tiny_detector.write(tmp_path / "spec", 31)
    spec.write_text(spec.read_text().replace("serving:\n", "serving:\n  response_cache: true\n"))
    repository = made(spec, tmp_path / "repository")
    encoded = (tmp_path / "spec" / "wide.png").read_bytes()
    with Server(repository) as server, triton.InferenceServerClient(server.grpc_url) as client:
        value = triton.InferInput("image", [1, 1], "BYTES")
        value.set_data_from_numpy(np.array([[encoded]], object))
        first, second = (client.infer("tiny", [value]) for _ in range(2))
        counts = client.get_inference_statistics("tiny").model_stats[0].inference_stats
    for output in first.get_response().outputs:
        np.testing.assert_array_equal(first.as_numpy(output.name), second.as_numpy(output.name))
    assert (counts.cache_hit.count, counts.cache_miss.count) == (1, 1)


def test_deployment_has_a_cache_where_a_model_asks_for_one(tmp_path: Path) -> None:
    from generator import container

    without = made(bare(tmp_path / "a", "  version: 1\n"), tmp_path / "without")
    cached = made(bare(tmp_path / "b", "  response_cache: true\n"), tmp_path / "cached")
    assert not any("cache-config" in word for word in container.serve_command(without))
    assert any(word.startswith("--cache-config=local,size=") for word in container.serve_command(cached))
