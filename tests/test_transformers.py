"""Folders of Hugging Face transformers, where it is installed: built, and held against the library's own answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers_models import KINDS, save

from generator import graph
from generator.build import plan
from generator.cli import run
from generator.client import Client
from generator.errors import CheckpointError
from generator.frontends.transformers import Transformers
from generator.image_processors import preprocessing
from generator.preprocess_hint import parsed
from generator.rows import aligned

library: Any = pytest.importorskip("transformers")


def spec(folder: Path, model: Path, more: str = "", rest: str = "") -> Path:
    (folder / "s.yaml").write_text(f"name: s\ncheckpoint: {{kind: transformers, folder: {model}{more}}}\n{rest}")
    return folder / "s.yaml"


def built(written: Path) -> Path:
    """The model file that a build makes."""
    assert run(["build", str(written), "-o", str(written.parent / "repo")]) == 0
    return written.parent / "repo" / "s" / "1" / "model.onnx"


def feeds(batch: int, length: int, inputs: dict[str, list[int | str]]) -> dict[str, np.ndarray[Any, Any]]:
    """Values for inputs of these shapes; masks end at several places."""
    random, found = np.random.default_rng(batch), {}
    sizes = {"length": length, "decoder_length": length // 2, "height": 96, "width": 160, "samples": 9000}
    for name, dims in inputs.items():
        shape = (batch, *(dim if isinstance(dim, int) else sizes[dim] for dim in dims[1:]))
        if name == "attention_mask":
            found[name] = (np.arange(length) < random.integers(length // 3, length + 1, (batch, 1))).astype(np.int64)
        elif name.endswith("ids"):
            found[name] = random.integers(0, 2 if name.startswith("token") else 200, shape)
        else:
            found[name] = random.random(shape).astype(np.float32)
    return found


def taken(model: Path) -> dict[str, list[int | str]]:
    found = Transformers.model_validate({"folder": model})
    return {name: list(one.shape) for name, one in found.taken().items()}


def own(model: Path, name: str, values: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """What transformers answers, called as its users call it."""
    loaded = getattr(library, name).from_pretrained(model).eval()
    with torch.no_grad():
        found = loaded(**{key: torch.from_numpy(array) for key, array in values.items()})
    return {key: value.numpy() for key, value in found.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_answers_as_transformers_does(tmp_path: Path, name: str) -> None:
    model = save(name, tmp_path / "m")
    session = graph.session(built(spec(tmp_path, model)))
    for batch, length in ((1, 17), (3, 40)):
        values = feeds(batch, length, taken(model))
        found, expected = graph.run(session, values), own(model, name, values)
        assert found
        assert set(found) <= set(expected)
        for key, array in found.items():
            assert array.shape == expected[key].shape
            np.testing.assert_allclose(array, expected[key], atol=1e-4 * max(1.0, np.abs(expected[key]).max()), rtol=1e-4)


def test_the_trained_detector_of_the_tests(tmp_path: Path, root: Path, server: Callable[..., Any]) -> None:
    """RT-DETR trained on photos: head, classes and preset from the folder, served, each rung within its bound."""
    model = root / "weights" / "rtdetr-photos"
    photo = root / "weights" / "yolov4-tiny" / "bus.jpg"
    rest = (
        "nms: {kind: none, score_threshold: 0.5}\npreprocess: {kind: rt_detr}\npostprocess: {kind: detections}\n"
        f"verify: {{images: [{photo}]}}\n"
    )
    written = spec(tmp_path, model, ", size: [256, 256]", rest)
    assert run(["build", str(written), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(written), "-r", str(tmp_path / "repo")]) == 0
    with Client(str(server(tmp_path / "repo").grpc_url), model="s") as client:
        (found,) = client.infer([photo])
    assert {"bus", "person"} <= set(found.labels)


def test_sentences_through_the_served_minilm(tmp_path: Path, root: Path, server: Callable[..., Any]) -> None:
    """A trained encoder: real sentences of several lengths, served, against transformers; the ones alike are nearest."""
    import tritonclient.grpc as triton

    subprocess.run([sys.executable, str(root / "scripts" / "fetch_weights.py"), str(tmp_path / "w"), "minilm"], check=True)
    model = tmp_path / "w" / "minilm"
    written = spec(tmp_path, model)
    built(written)
    assert run(["verify", str(written), "-r", str(tmp_path / "repo")]) == 0
    words = library.AutoTokenizer.from_pretrained(model, local_files_only=True)
    texts = ["A cat sits on the mat.", "The kitten is lying on a rug, fast asleep.", "Interest rates rose again."]
    values = dict(words(texts, padding=True, return_tensors="np").items())
    client = triton.InferenceServerClient(str(server(tmp_path / "repo").grpc_url))
    given = []
    for name, array in values.items():
        given.append(triton.InferInput(name, list(array.shape), "INT64"))
        given[-1].set_data_from_numpy(array.astype(np.int64))
    answer = client.infer("s", given)
    expected = own(model, "AutoModel", values)
    for name, array in expected.items():
        np.testing.assert_allclose(answer.as_numpy(name), array, atol=1e-5)
    mask = values["attention_mask"][..., None]
    mean = (answer.as_numpy("last_hidden_state") * mask).sum(1) / mask.sum(1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    alike = mean @ mean.T
    assert alike[0, 1] > 0.5
    assert alike[0, 2] < 0.2


def test_a_task_whose_weights_are_not_there_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save("BertForSequenceClassification", tmp_path / "m")
    assert run(["build", str(spec(tmp_path, model, ", task: fill-mask")), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert "BertForMaskedLM needs weights that are not there: cls.predictions" in said
    assert "say the task or architecture that it was trained as" in said


def test_an_encoder_of_another_task_without_its_pooler(tmp_path: Path) -> None:
    model = save("BertForTokenClassification", tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"needs weights that are not there: pooler\.dense\.bias, pooler\.dense\.weight"):
        Transformers.model_validate({"folder": model, "task": "feature-extraction"}).module()
    bare = {"folder": model, "task": "feature-extraction", "arguments": {"add_pooling_layer": False}}
    assert Transformers.model_validate(bare).module() is not None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"architecture": "BertForWonders"}, r"transformers [\d.]+ has no class BertForWonders; correct `architecture:`"),
        ({"task": "object-detection"}, "transformers has no AutoModelForObjectDetection of a bert; correct `task:`"),
    ],
)
def test_a_class_that_is_not_there(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    model = save("BertModel", tmp_path / "m")
    with pytest.raises(CheckpointError, match=words):
        Transformers.model_validate({"folder": model, **said}).module()


def test_truncated_weights_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save("BertModel", tmp_path / "m")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert run(["build", str(spec(tmp_path, model)), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert f"{model}: transformers cannot load it: " in said
    assert "Traceback" not in said


def test_older_weights_are_read_without_running_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save("BertModel", tmp_path / "m")
    state = getattr(library, "BertModel").from_pretrained(model).state_dict()  # noqa: B009 -- it has no types
    (model / "model.safetensors").unlink()
    torch.save(state, model / "pytorch_model.bin")
    assert Transformers.model_validate({"folder": model}).module() is not None
    torch.save({**state, "pooler.dense.bias": Path("x")}, model / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        Transformers.model_validate({"folder": model}).module()


CODE = """\
import torch
from transformers import BertConfig, BertModel

open({flag!r}, "w").close()


class MineConfig(BertConfig):
    model_type = "mine"


class Mine(BertModel):
    config_class = MineConfig
"""


def test_code_in_the_folder_runs_only_with_the_word_of_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = save("BertModel", tmp_path / "m")
    flag = tmp_path / "it_ran"
    (model / "mine.py").write_text(CODE.format(flag=str(flag)))
    config = json.loads((model / "config.json").read_text())
    auto = {"AutoConfig": "mine.MineConfig", "AutoModel": "mine.Mine"}
    (model / "config.json").write_text(json.dumps({**config, "model_type": "mine", "architectures": ["Mine"], "auto_map": auto}))
    with pytest.raises(CheckpointError, match=r"loading it runs code from the folder \(mine\.py\); if you trust whoever made it"):
        Transformers.model_validate({"folder": model}).module()
    assert not flag.exists()
    trusted = Transformers.model_validate({"folder": model, "trust_checkpoint": True})
    assert type(trusted.module()).__name__ == "Mine"
    assert flag.exists()
    assert "mine.py" in [path.name for path in trusted.files()]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"size": {"height": 96, "width": 128}, "resample": 3}),
        ("CLIPImageProcessor", {}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("DeiTImageProcessor", {"size": {"height": 224, "width": 224}}),
        ("SegformerImageProcessor", {}),
        ("RTDetrImageProcessor", {}),
        ("BitImageProcessor", {}),
        ("MobileNetV2ImageProcessor", {}),
    ],
)
def test_what_is_said_of_a_processor_makes_its_pixels(tmp_path: Path, root: Path, name: str, said: dict[str, Any]) -> None:
    """A photo through the library's own processor, from its saved file, and through what we say of that file."""
    from PIL import Image

    getattr(library, name)(**said).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    hint = preprocessing(config)
    assert hint, config
    rgb = np.asarray(Image.open(root / "weights" / "photos" / "coffee.png").convert("RGB"))
    reader = library.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    expected = np.asarray(reader(Image.fromarray(rgb), return_tensors="np")["pixel_values"][0])
    pixels, _ = parsed(hint).reference(rgb, *expected.shape[1:])
    found = parsed(hint).normalise(pixels[None])[0]
    scale = 1 / 255 / min(parsed(hint).std)
    assert np.abs(found - expected).max() <= 1.01 * scale
    assert np.abs(found - expected).mean() < 0.02 * scale


def test_of_a_processor_that_does_more_nothing_is_said(tmp_path: Path) -> None:
    library.DonutImageProcessor().save_pretrained(tmp_path)
    assert preprocessing(json.loads((tmp_path / "preprocessor_config.json").read_text())) == {}


def test_classes_of_the_config_are_served(tmp_path: Path, root: Path) -> None:
    names = {str(number): f"thing {number}" for number in range(10)}
    model = save("ViTForImageClassification", tmp_path / "m", id2label=names)
    library.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(model)
    photo = root / "weights" / "photos" / "coffee.png"
    rest = (
        f"preprocess: {{kind: center_crop, resize: 70}}\npostprocess: {{kind: classification}}\nverify: {{images: [{photo}]}}\n"
    )
    written = spec(tmp_path, model, rest=rest)
    assert run(["build", str(written), "-o", str(tmp_path / "repo")]) == 0
    assert (tmp_path / "repo" / "s_postprocess" / "labels.txt").read_text().splitlines() == list(names.values())
    (planned,) = plan([written], tmp_path / "repo")
    (warning,) = planned.warnings
    assert "expected preprocess: {kind: stretch, antialias: true, interpolation: linear, mean:" in str(warning)


def test_queries_are_compared_as_a_set() -> None:
    rows = np.random.default_rng(0).random((1, 6, 4))
    found = aligned({"a": rows}, {"a": rows[:, ::-1]}, (("a",),))
    np.testing.assert_array_equal(found["a"], rows)
