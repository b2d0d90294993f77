"""timm: from a name and its weights to a graph that answers as timm does, and what is said of mistakes.

timm is an extra. To run these: an environment with timm beside torch (and torchvision, which timm imports;
`/work/shared/tools/torchvision_cpu_stub.sh` where only wheels with CUDA are to be had).
"""

from __future__ import annotations

import importlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from generator import graph, lock
from generator.cli import run
from generator.errors import CheckpointError
from generator.frontends.timm import Timm
from generator.preprocess_hint import parsed
from generator.preprocessing.timm import Timm as Preset

timm = pytest.importorskip("timm", reason="timm is not installed")

CLASSES = {"num_classes": 7}


def made(seed: int = 0, name: str = "test_efficientnet", **arguments: Any) -> torch.nn.Module:
    """Weights that are no fresh initialisation: every tensor has noise of its own."""
    torch.manual_seed(seed)
    model: torch.nn.Module = timm.create_model(name, **{**CLASSES, **arguments}).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape))
    return model


def frontend(folder: Path, saved: Any, name: str = "test_efficientnet", **said: Any) -> Timm:
    torch.save(saved, folder / "w.pth")
    values = {"model": name, "weights": "w.pth", "arguments": CLASSES, **said}
    return Timm.model_validate(values, context={"base": folder})


def spec(folder: Path, saved: Any, **said: Any) -> Path:
    torch.save(saved, folder / "w.pth")
    checkpoint = {"kind": "timm", "model": "test_efficientnet", "weights": "w.pth", "arguments": CLASSES, **said}
    (folder / "s.yaml").write_text(yaml.safe_dump({"name": "net", "checkpoint": checkpoint}))
    return folder / "s.yaml"


def built(folder: Path, path: Path) -> Any:
    assert run(["build", str(path), "-o", str(folder / "repo")]) == 0
    return graph.session(folder / "repo" / "net" / "1" / "model.onnx")


def pictures(rows: int, *size: int) -> torch.Tensor:
    return torch.randn(rows, 3, *size, generator=torch.Generator().manual_seed(rows))


def test_a_name_and_weights_are_all_it_takes(tmp_path: Path) -> None:
    model = made()
    session = built(tmp_path, spec(tmp_path, model.state_dict()))
    for rows in (1, 4):
        x = pictures(rows, 160, 160)  # what timm evaluates test_efficientnet with
        found = graph.run(session, {"image": x.numpy()})
        wanted = model(x).detach().numpy()
        assert np.ptp(wanted, axis=0).max(initial=0) > 1e-2 or rows == 1
        np.testing.assert_allclose(found["logits"], wanted, rtol=1e-4, atol=1e-5)
    facts = lock.read(tmp_path / "repo")["net"].facts
    assert facts["exporter"].startswith("dynamo")


def test_free_sizes_and_features(tmp_path: Path) -> None:
    said = {"inputs": {"picture": ["batch", 3, "height", "width"]}, "arguments": {"num_classes": 0}}
    model = made(num_classes=0)
    session = built(tmp_path, spec(tmp_path, model.state_dict(), **said))
    for size in ((96, 160), (224, 64)):
        x = pictures(2, *size)
        found = graph.run(session, {"picture": x.numpy()})
        np.testing.assert_allclose(found["features"], model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_moving_average_beside_the_weights_is_chosen_by_its_key(tmp_path: Path) -> None:
    plain, average = made(1), made(2)
    saved = {"epoch": 3, "state_dict": plain.state_dict(), "state_dict_ema": average.state_dict()}
    x = pictures(1, 160, 160)
    for key, model in (("state_dict", plain), ("state_dict_ema", average)):
        assert torch.equal(frontend(tmp_path, saved, key=key).module()(x), model(x))
    with pytest.raises(CheckpointError, match=r"2 state dicts; .*`key: state_dict` .*`key: state_dict_ema` \(EMA"):
        frontend(tmp_path, saved).module()


def test_safetensors(tmp_path: Path) -> None:
    model, x = made(), pictures(1, 160, 160)
    importlib.import_module("safetensors.torch").save_file(model.state_dict(), tmp_path / "w.safetensors")
    one = frontend(tmp_path, {}, weights="w.safetensors")
    torch.testing.assert_close(
        one.module()(x), model(x)
    )  # mapped weights lie otherwise in memory: other kernels, other last digits
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"w.safetensors: .*cut short"):
        one.module()


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("test_vit", {"img_size": 192}, ("batch", 3, 192, 192)),
        ("resnet18.a1_in1k", {"in_chans": 1}, ("batch", 1, 224, 224)),
        ("convnext_atto", {}, ("batch", 3, 224, 224)),
        ("legacy_xception", {}, ("batch", 3, 299, 299)),
    ],
)
def test_the_size_is_timms_own(tmp_path: Path, name: str, arguments: dict[str, Any], shape: tuple[object, ...]) -> None:
    (one,) = frontend(tmp_path, {}, name, arguments=arguments).taken().values()
    assert one.shape == shape


@pytest.mark.parametrize(
    "name", ["convnext_atto", "legacy_xception", "resnet18.tv_in1k", "resnet18.a1_in1k", "vit_tiny_patch16_224"]
)
def test_the_table_says_timms_own_transform(tmp_path: Path, name: str) -> None:
    """Held against the transform that timm makes: the table is read without timm."""
    said = parsed(frontend(tmp_path, {}, name).preprocessing())
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    resize, crop, *_, normalize = timm.data.create_transform(**config, is_training=False).transforms
    (height, width) = crop.size
    assert isinstance(said, Preset)
    assert said._short(height, width) == (resize.size if isinstance(resize.size, int) else resize.size[0])
    assert {"cubic": "bicubic", "linear": "bilinear"}[said.interpolation] == resize.interpolation.value
    np.testing.assert_allclose(said.mean, normalize.mean.numpy())
    np.testing.assert_allclose(said.std, normalize.std.numpy())


class Bomb:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.flag}",)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="would run code from the file"):
        frontend(tmp_path, Bomb(tmp_path / "ran")).module()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "test_eficientnet"}, "no timm model 'test_eficientnet'; did you mean 'test_efficientnet'"),
        (
            {"arguments": {}},
            r"does not fit the module: wrong shape \(\d\): classifier.weight is \[7, \d+\], expected \[1000, \d+\]",
        ),
        ({"arguments": {**CLASSES, "widht": 2}}, "its builder raised TypeError: .*widht.*; correct checkpoint.arguments"),
        ({"key": "ema"}, "no key 'ema'"),
        ({"prefix": "module."}, "no weight's name begins with 'module.'"),
        ({"ignore": ["aux.*"]}, "no weight's name fits 'aux.\\*'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        frontend(tmp_path, made().state_dict(), **said).module()


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    one = frontend(tmp_path, made().state_dict())
    for content in (one.weights.read_bytes()[:-600], b"", b"hello", pickle.dumps(b"x" * 100)[:-5]):
        one.weights.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
            one.module()


@pytest.mark.parametrize("said", [{"arguments": {"pretrained": True}}, {"model": "hf-hub:timm/resnet18"}])
def test_nothing_is_fetched(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"weights come from `weights:` alone|should match pattern"):
        frontend(tmp_path, {}, **said)
