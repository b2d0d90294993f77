"""What a folder of transformers says, read without transformers; its mistakes; preprocessing told from its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.cli import run
from generator.errors import CheckpointError
from generator.frontends.transformers import Transformers
from generator.heads.detr import Detr
from generator.image_processors import preprocessing
from generator.inputs import Mask
from generator.model_folder import ModelFolder
from generator.preprocess_hint import parsed

MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
SQUARE = {"height": 64, "width": 64}
VIT: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": SQUARE, "image_mean": MEAN, "image_std": STD}
BERT: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
}


def folder(path: Path, config: dict[str, Any], **files: Any) -> Path:
    """A folder with a config.json, empty weights, and other JSON files."""
    path.mkdir(exist_ok=True)
    for name, content in {"config": config, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_bert_takes_words_masks_and_kinds(tmp_path: Path) -> None:
    said = ModelFolder(folder(tmp_path, BERT))
    known = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids", "inputs_embeds"))
    inputs = said.inputs(known, None, 30522)
    assert {name: (one.dtype, one.shape) for name, one in inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), ("INT64", ("batch", "length"))
    )
    assert inputs["input_ids"].range == (0, 30522)
    assert said.axes["length"].max == 512
    assert inputs["token_type_ids"].range == (0, 2)
    assert "token_type_ids" not in ModelFolder(folder(tmp_path, {**BERT, "type_vocab_size": 1})).inputs(known, None, 9)


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5"}, None),
        ({"model_type": "clip", "text_config": {"max_position_embeddings": 77}}, 77),
    ],
)
def test_words_end_where_positions_do(tmp_path: Path, config: dict[str, Any], longest: int | None) -> None:
    assert ModelFolder(folder(tmp_path, config)).longest == longest


def test_masks_are_those_of_texts_of_several_lengths() -> None:
    mask = Mask(dtype="INT64", shape=("batch", "length")).values(np.random.default_rng(0), {"batch": 5, "length": 9})
    assert mask.dtype == np.int64
    assert mask[0].all()
    assert not mask.all()
    assert (np.diff(mask, axis=1) <= 0).all()
    assert mask[:, :5].all()


@pytest.mark.parametrize(
    ("config", "processor", "size"),
    [
        ({"image_size": 224}, {}, (224, 224)),
        ({"image_size": [384, 512]}, {}, (384, 512)),
        ({"image_size": 224}, {"size": {"height": 160, "width": 192}}, (160, 192)),
        ({}, {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, (224, 224)),
        ({}, {"size": {"shortest_edge": 800, "longest_edge": 1333}}, None),
        ({"vision_config": {"image_size": 336}}, {}, (336, 336)),
        ({}, {}, None),
    ],
)
def test_the_size_of_pictures(
    tmp_path: Path, config: dict[str, Any], processor: dict[str, Any], size: tuple[int, int] | None
) -> None:
    said = ModelFolder(folder(tmp_path, {"model_type": "vit", **config}, preprocessor_config=processor))
    assert said.size == size
    shape = said.inputs({"pixel_values": None}, said.size, 0)["pixel_values"].shape
    assert shape == ("batch", 3, *(size or ("height", "width")))


def test_classes_are_named_or_only_numbered(tmp_path: Path) -> None:
    assert ModelFolder(folder(tmp_path, {"id2label": {"1": "dog", "0": "cat"}})).labels == ("cat", "dog")
    assert ModelFolder(folder(tmp_path, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})).labels == ()
    assert ModelFolder(folder(tmp_path, {"id2label": {"0": "cat", "5": "dog"}})).labels == ()
    assert ModelFolder(folder(tmp_path, {})).labels == ()


def test_the_head_of_a_detector(tmp_path: Path) -> None:
    four = {"id2label": {str(n): f"class {n}" for n in range(4)}}
    head = ModelFolder(folder(tmp_path, {"model_type": "detr", **four})).head("DetrForObjectDetection")
    assert head == Detr(classes=5, activation="softmax", boxes=("pred_boxes",), scores=("logits",))
    rt = ModelFolder(folder(tmp_path, {"model_type": "rt_detr", **four}))
    assert rt.head("RTDetrForObjectDetection") == Detr(classes=4, activation="sigmoid", boxes=("pred_boxes",), scores=("logits",))
    assert rt.chooses
    assert rt.head("RTDetrModel") is None
    assert not ModelFolder(folder(tmp_path, {"model_type": "deformable_detr"})).chooses
    assert ModelFolder(folder(tmp_path, {"model_type": "deformable_detr", "two_stage": True})).chooses


def test_weights_in_parts_all_count(tmp_path: Path) -> None:
    where = folder(tmp_path, BERT)
    (where / "model.safetensors").unlink()
    (where / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}})
    )
    (where / "x-1.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"it names x-2.safetensors, which is not beside it; fetch all parts"):
        _ = ModelFolder(where).weights
    (where / "x-2.safetensors").write_bytes(b"")
    found = Transformers.model_validate({"folder": where}).files()
    assert [path.name for path in found] == ["config.json", "model.safetensors.index.json", "x-1.safetensors", "x-2.safetensors"]


def test_a_list_of_parts_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    where = folder(tmp_path / "m", BERT)
    (where / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (where / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match="not beside it"):
        _ = ModelFolder(where).weights


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json in it"),
        (lambda f: (f / "config.json").write_text('{"model_type": "be'), "config.json: not JSON, or cut short"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: holds a list, expected names and values"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors or pytorch_model.bin in it, but config.json"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any, words: str
) -> None:
    break_it(folder(tmp_path / "m", BERT))
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint: {kind: transformers, folder: m}\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = folder(tmp_path / "m", BERT)
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint:\n  kind: transformers\n  folder: m/config.json\n")
    assert run(["plan", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    assert f"s.yaml:4: checkpoint.folder: {where}/config.json is a file; name the folder it lies in" in capsys.readouterr().err


def test_without_transformers_the_line_that_installs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if _installed("transformers"):
        pytest.skip("transformers is installed here")
    folder(tmp_path / "m", BERT)
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint: {kind: transformers, folder: m}\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert "checkpoint kind transformers needs the package transformers; pip install triton-repo-generator[transformers]" in said


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            VIT,
            {"kind": "stretch", "antialias": True, "interpolation": "linear", "mean": (0.5,) * 3, "std": (0.25,) * 3},
        ),
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "do_center_crop": True, "crop_size": 224,
             "resample": 3, "image_mean": MEAN, "image_std": STD},
            {"kind": "center_crop", "resize": 224, "interpolation": "cubic", "mean": (0.5,) * 3, "std": (0.25,) * 3},
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3,
             "image_mean": MEAN, "image_std": STD},
            {"kind": "center_crop", "resize": 256, "interpolation": "cubic", "mean": (0.5,) * 3, "std": (0.25,) * 3},
        ),
        (
            {"image_processor_type": "RTDetrImageProcessorFast", "size": {"height": 640, "width": 640}, "do_normalize": False},
            {"kind": "rt_detr"},
        ),
        (
            {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 600, "longest_edge": 1000},
             "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
            {"kind": "detr", "shortest": 600, "longest": 1000},
        ),
    ],
)  # fmt: skip
def test_what_a_processor_does_is_said_as_preprocess(config: dict[str, Any], said: dict[str, Any]) -> None:
    assert preprocessing(config) == said
    assert parsed(said).kind == said["kind"]


@pytest.mark.parametrize(
    "change",
    [
        {"resample": 1}, {"do_rescale": False}, {"do_pad": True}, {"image_mean": None}, {"image_mean": [0.5]}, {"size": {}},
        {"do_resize": False}, {"image_processor_type": ""}, {"offset": True},
        {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
    ],
)  # fmt: skip
def test_of_what_no_kind_here_does_nothing_is_said(change: dict[str, Any]) -> None:
    assert preprocessing(VIT)
    assert preprocessing({**VIT, **change}) == {}
