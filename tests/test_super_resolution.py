"""The classic case: an upscale factor that is an input. Exported once, served once, called at x2, x3 and x4."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from numpy.typing import NDArray
from torch.nn import functional

from generator import graph, pbtxt
from generator.cli import run

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "examples" / "super_resolution.yaml"
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "scripts")]

import super_resolution as example  # noqa: E402
import super_resolution_picture as picture  # noqa: E402
import train_super_resolution as training  # noqa: E402


@pytest.fixture(scope="module")
def network() -> example.SuperResolution:
    network = example.SuperResolution()
    network.load_state_dict(torch.load(SPEC.with_suffix(".pt"), weights_only=True))
    return network


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("super_resolution") / "repo"
    assert run(["build", str(SPEC), "-o", str(repository)]) == 0
    return repository


def expected(network: example.SuperResolution, image: NDArray[np.float32], scales: tuple[float, float]) -> NDArray[Any]:
    """By PyTorch's own interpolate, not by the operator of the example."""
    with torch.no_grad():
        large = functional.interpolate(torch.from_numpy(image), scale_factor=scales, mode="bicubic", align_corners=False)
        answer: NDArray[Any] = (large + network.added(large)).numpy()
    return answer


@pytest.mark.parametrize("scales", [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0), (2.0, 3.0), (1.5, 2.5)])
def test_one_served_model_at_every_factor(
    repository: Path, server: Callable[..., Any], network: example.SuperResolution, scales: tuple[float, float]
) -> None:
    random = np.random.default_rng(0)
    with triton.InferenceServerClient(server(repository).grpc_url) as client:
        for shape in ((1, 1, 24, 40), (3, 1, 33, 17)):
            image = random.random(shape, np.float32)
            found = picture.enlarged(client, image, scales)
            assert found.shape == (shape[0], 1, int(shape[2] * scales[0]), int(shape[3] * scales[1]))
            np.testing.assert_allclose(found, expected(network, image, scales), atol=2e-5)


def test_the_ladder_climbs_with_the_samples_of_the_spec(repository: Path) -> None:
    assert run(["verify", str(SPEC), "-r", str(repository)]) == 0


def test_the_graph_holds_one_cubic_resize_whose_scales_are_an_input(repository: Path) -> None:
    model = graph.load(repository / "super_resolution" / "1" / "model.onnx")
    (resize,) = [node for node in model.graph.node if node.op_type == "Resize"]
    attributes = {a.name: a.s.decode() if a.type == 3 else a.f for a in resize.attribute}
    assert attributes["mode"] == "cubic"
    assert attributes["cubic_coeff_a"] == -0.75
    assert attributes["coordinate_transformation_mode"] == "half_pixel"
    (concat,) = [node for node in model.graph.node if resize.input[2] in node.output]
    assert "scales" in concat.input
    config = pbtxt.read(repository / "super_resolution" / "config.pbtxt")
    assert config.max_batch_size == 0  # scales have no row a request
    assert [list(tensor.dims) for tensor in config.input] == [[-1, 1, -1, -1], [2]]


@pytest.mark.parametrize("factor", training.FACTORS)
def test_the_network_is_better_than_bicubic_on_the_photo_that_it_never_saw(network: example.SuperResolution, factor: int) -> None:
    assert training.HELD_OUT not in training.PHOTOS
    bicubic, better = training.psnr(network, training.brightness(training.HELD_OUT)[..., :240, 80:320], factor)
    assert better > bicubic + 0.2
