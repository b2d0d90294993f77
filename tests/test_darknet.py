"""The Darknet frontend against OpenCV, which reads the same files with code of its own; and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from generator.darknet import layers, read_cfg
from generator.darknet_module import Network
from generator.errors import CheckpointError
from generator.frontends.darknet import Darknet
from generator.heads.yolov2 import Yolov2


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
    answers = interface.head.reference(interface.inputs[0], raw)
    boxes, scores = answers.boxes[0], answers.scores[0]
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2 / 416, (boxes[:, 2:] - boxes[:, :2]) / 416
    np.testing.assert_allclose(centres, oracle[:, :2], atol=1e-5)
    np.testing.assert_allclose(sizes, oracle[:, 2:4], atol=5e-5)
    kept = oracle[:, 5:] > 0  # OpenCV zeroes classes below its own threshold
    assert kept.sum() >= 2
    np.testing.assert_allclose(scores[kept], oracle[:, 5:][kept], atol=5e-5)


@pytest.mark.parametrize("name", ["yolov2-tiny", "yolov3-tiny"])
@pytest.mark.parametrize("photo", ["bus.jpg", "zidane.jpg"])
def test_the_other_tiny_yolos_equal_opencvs(root: Path, folder: Path, name: str, photo: str) -> None:
    """Trained weights: YOLOv2's region, and YOLOv3-tiny's stride-1 max-pool. MODELS of the project: scripts/fetch_weights.py."""
    files = [root / "weights" / name / f"{name}.{end}" for end in ("cfg", "weights")]
    if not all(path.is_file() for path in files):
        pytest.skip(f"weights/{name} is not there")
    frontend = Darknet(cfg=files[0], weights=files[1])
    picture = cv2.resize(cv2.imread(str(folder / photo)), (416, 416))[:, :, ::-1]
    image = np.ascontiguousarray((picture / 255).astype(np.float32).transpose(2, 0, 1)[None])
    centres, sizes, scores, oracle = against_opencv(frontend, image)
    np.testing.assert_allclose(centres, oracle[:, :2], atol=1e-5)
    np.testing.assert_allclose(sizes, oracle[:, 2:4], atol=5e-5)
    kept = oracle[:, 5:] > 0  # OpenCV zeroes classes below its own threshold
    assert kept.sum() >= 1
    np.testing.assert_allclose(scores[kept], oracle[:, 5:][kept], atol=5e-5)
    if name == "yolov2-tiny":  # whose classes exclude each other, so that objectness is their sum
        np.testing.assert_allclose(scores.sum(1), oracle[:, 4], atol=5e-5)


def against_opencv(frontend: Darknet, image: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Centres, sizes and scores by our module and reference, and OpenCV's rows in their order, all in 0..1 of the picture."""
    net = cv2.dnn.readNetFromDarknet(str(frontend.cfg), str(frontend.weights))
    net.setInput(image)
    interface = frontend.interface()
    assert interface.head is not None
    with torch.no_grad():
        raw = {t.name: a.numpy() for t, a in zip(interface.outputs, frontend.module()(torch.from_numpy(image)), strict=True)}
    assert {name: a.shape[1:] for name, a in raw.items()} == {t.name: t.shape for t in interface.outputs}
    answers = interface.head.reference(interface.inputs[0], raw)
    found = net.forward(net.getUnconnectedOutLayersNames())
    oracle = np.concatenate([a.reshape(-1, a.shape[-1]) for a in found])
    if isinstance(interface.head, Yolov2):  # OpenCV goes through the cells, and there through the anchors; we the other way
        anchors = len(interface.head.anchors)
        oracle = oracle.reshape(-1, anchors, oracle.shape[-1]).swapaxes(0, 1).reshape(-1, oracle.shape[-1])
    size = np.array(image.shape[:1:-1])
    boxes = answers.boxes[0].astype(np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2 / size, (boxes[:, 2:] - boxes[:, :2]) / size, answers.scores[0], oracle


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


EVERY_LAYER = """\
[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=leaky
[shortcut]
from=-2
activation=linear
[route]
layers=-1
groups=2
group_id=1
[maxpool]
size=2
stride=2
[convolutional]
batch_normalize=1
filters=16
size=3
stride=1
pad=1
activation=swish
[maxpool]
size=2
stride=1
[maxpool]
size=5
stride=1
[convolutional]
filters=14
size=1
stride=1
activation=linear
[yolo]
mask=1,2
anchors=4,6, 10,14, 23,27
classes=2
num=3
[route]
layers=-3
[upsample]
stride=2
[route]
layers=-1,3
[convolutional]
filters=7
size=1
stride=1
activation=linear
[yolo]
mask=0
anchors=4,6, 10,14, 23,27
classes=2
num=3
scale_x_y=1.1
"""


REGION = """\
[net]
width=96
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=12
size=3
stride=2
pad=1
activation=leaky
[route]
layers=-2
[convolutional]
batch_normalize=1
filters=4
size=1
stride=1
activation=leaky
[reorg]
stride=2
[route]
layers=-1,-4
[convolutional]
filters=14
size=1
stride=1
activation=linear
[region]
anchors=1,2, 3,1.5
classes=2
coords=4
num=2
softmax=1
"""


def test_a_region_behind_a_reorg_equals_opencvs(tmp_path: Path) -> None:
    """YOLOv2's passthrough, on a picture that is not square."""
    frontend, random = filled(tmp_path, REGION, last=14 + 14 * 28)
    centres, sizes, scores, oracle = against_opencv(frontend, random.random((1, 3, 64, 96)).astype(np.float32))
    np.testing.assert_allclose(centres, oracle[:, :2], atol=1e-5)
    np.testing.assert_allclose(sizes, oracle[:, 2:4], rtol=1e-4, atol=1e-4)
    kept = oracle[:, 5:] > 0
    assert kept.sum() > 10
    np.testing.assert_allclose(scores[kept], oracle[:, 5:][kept], atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("coords=5", "coords other than 4"),
        ("num=3", "num=3 and 2 anchors"),
        ("anchors=1,2,3", "3 anchor values, expected pairs"),
        ("tree=words", "tree"),
    ],
)
def test_a_region_that_is_not_yolov2s(tmp_path: Path, wrong: str, message: str) -> None:
    frontend, _ = filled(tmp_path, REGION)
    frontend.cfg.write_text(REGION + wrong)
    with pytest.raises(CheckpointError, match=message):
        frontend.interface()


def test_every_kind_of_layer_equals_opencvs(tmp_path: Path) -> None:
    """The stride-1 max-pool pads right and bottom only; groups, shortcut, upsample, mish and swish."""
    frontend, random = filled(tmp_path, EVERY_LAYER)
    centres, _, _, oracle = against_opencv(frontend, random.random((1, 3, 64, 64)).astype(np.float32))
    np.testing.assert_allclose(centres, oracle[:, :2], atol=1e-4)


def filled(folder: Path, cfg: str, last: int = 0) -> tuple[Darknet, np.random.Generator]:
    """The network of a cfg with random weights, variances above 0, the `last` ones smaller, so that boxes stay small."""
    (folder / "net.cfg").write_text(cfg)
    network = Network(folder / "net.cfg")
    count = sum(t.numel() for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked"))
    random = np.random.default_rng(3)
    floats = np.abs(random.normal(0.3, 0.3, count)).astype("<f4") * random.choice([-1, 1, 1], count).astype("<f4")
    used = 0
    for block in network.blocks:  # variances must be positive
        for name, t in block.state_dict().items():
            if name.startswith("1.running_var"):
                channels = t.numel()
                floats[used + 3 * channels : used + 4 * channels] = random.uniform(0.5, 2, channels)
        used += sum(t.numel() for name, t in block.state_dict().items() if not name.endswith("num_batches_tracked"))
    floats[count - last :] /= 5
    (folder / "net.weights").write_bytes(np.array([0, 2, 5, 0, 0], "<i4").tobytes() + floats.tobytes())
    return Darknet(cfg=folder / "net.cfg", weights=folder / "net.weights"), random
