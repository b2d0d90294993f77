"""The Darknet frontend against OpenCV, which reads the same files with code of its own; and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from generator.darknet import layers, read_cfg
from generator.darknet_module import Network
from generator.errors import CheckpointError
from generator.frontends.darknet import Darknet


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "weights" / "yolov4-tiny"


@pytest.fixture(scope="module")
def frontend(folder: Path) -> Darknet:
    return Darknet(cfg=folder / "yolov4-tiny.cfg", weights=folder / "yolov4-tiny.weights")


@pytest.mark.parametrize("photo", ["bus.jpg", "zidane.jpg"])
def test_decoded_boxes_and_scores_equal_opencvs(folder: Path, frontend: Darknet, photo: str) -> None:
    picture = cv2.resize(cv2.imread(str(folder / photo)), (416, 416))[:, :, ::-1]
    image = np.ascontiguousarray((picture / 255).astype(np.float32).transpose(2, 0, 1)[None])
    net = cv2.dnn.readNetFromDarknet(str(frontend.cfg), str(frontend.weights))
    net.setInput(image)
    oracle = np.concatenate(net.forward(net.getUnconnectedOutLayersNames()))  # cx, cy, w, h in 0..1; objectness; class scores
    interface = frontend.interface()
    assert interface.head is not None
    with torch.no_grad():
        raw = {f"yolo_{i}": t.numpy() for i, t in enumerate(frontend.module()(torch.from_numpy(image)))}
    boxes, scores = (a[0] for a in interface.head.reference(interface.inputs[0], raw))
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2 / 416, (boxes[:, 2:] - boxes[:, :2]) / 416
    np.testing.assert_allclose(centres, oracle[:, :2], atol=1e-5)
    np.testing.assert_allclose(sizes, oracle[:, 2:4], atol=5e-5)
    kept = oracle[:, 5:] > 0  # OpenCV zeroes classes below its own threshold
    assert kept.sum() >= 2
    np.testing.assert_allclose(scores[kept], oracle[:, 5:][kept], atol=5e-5)


def test_every_float_is_used_and_the_interface_is_what_the_module_gives(frontend: Darknet) -> None:
    module, interface = frontend.module(), frontend.interface()
    count = sum(t.numel() for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked"))
    assert count == 6_062_814
    with torch.no_grad():
        found = [tuple(t.shape) for t in module(torch.zeros(2, 3, 416, 416))]
    assert found == [(2, *t.shape) for t in interface.outputs]


def test_weights_cut_short_or_too_long(tmp_path: Path, frontend: Darknet) -> None:
    data = frontend.weights.read_bytes()
    for content, message in (
        (data[:-4000], "cut short: .* the cfg needs at least"),
        (data + b"\0" * 400, "the cfg uses only 6062814"),
        (data[:-3], "do not hold whole float32"),
        (b"", "0 bytes, shorter than"),
        (b"\x89PNG" + data[:100], "not Darknet weights"),
    ):
        path = tmp_path / "broken.weights"
        path.write_bytes(content)
        network = Network(frontend.cfg)
        with pytest.raises(CheckpointError, match=message):
            network.load_darknet(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "found 'hello', expected"),
        ("[convolutional]\nfilters=3", "first section is not"),
        ("[net]\nwidth=32", "height is missing"),
        ("[net]\nwidth=32\nheight=32\n[gru]\noutput=3", r":4: \[gru\]: this layer is not supported"),
        ("[net]\nwidth=32\nheight=x\n[yolo]", "height='x' is not a number"),
        ("[net]\nwidth=32\nheight=32\n[route]\nlayers=-4", "reads layer"),
    ],
)
def test_a_cfg_that_is_wrong_is_answered_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        layers(read_cfg(path))


def test_the_users_own_module_is_the_same_network(root: Path, folder: Path, frontend: Darknet, tmp_path: Path) -> None:
    """examples/yolov4_tiny.py, filled by scripts/darknet_to_pt.py, against the network built from the cfg."""
    import importlib.util
    import sys

    sys.path.insert(0, str(root / "examples"))
    spec = importlib.util.spec_from_file_location("darknet_to_pt", root / "scripts" / "darknet_to_pt.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.convert(folder, tmp_path / "y.pt")
    from yolov4_tiny import YoloV4Tiny

    own = YoloV4Tiny().eval()
    own.load_state_dict(torch.load(tmp_path / "y.pt", weights_only=True))
    image = torch.rand(2, 3, 416, 416, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for a, b in zip(own(image), frontend.module()(image), strict=True):
            torch.testing.assert_close(a, b)
