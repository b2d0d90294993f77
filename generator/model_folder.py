"""A folder that `save_pretrained` of Hugging Face transformers wrote, as its JSON files tell it; transformers is not needed."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.errors import CheckpointError
from generator.file_kind import looks_like
from generator.heads import Head
from generator.heads.detr import Detr
from generator.inputs import Axis, Input, Mask

#: In the order in which they are taken; each alone, or its `.index.json` with the parts that it lists.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
#: Detectors with a last class "no object"; the others judge every class by itself.
_NO_OBJECT = ("detr", "yolos", "table-transformer")
#: Detectors that choose their queries by score.
_CHOOSERS = ("rt_detr", "rt_detr_v2", "d_fine", "deformable_detr", "deta", "lw_detr", "deimv2", "pp_doclayout_v3")
#: Position 0 belongs to the padding token there, and the first word has the next.
_OFFSET = ("roberta", "camembert", "mpnet", "longformer", "esm", "ibert", "data2vec-text", "xmod", "luke", "mra", "yoso", "lilt")


@dataclass(frozen=True)
class ModelFolder:
    """What a folder says. Every property raises CheckpointError where a file of it cannot be read."""

    path: Path

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """config.json."""
        file = self.path / "config.json"
        if not file.is_file():
            looks = looks_like(self.path)
            hint = f"it looks like {looks}" if looks else "name the folder that save_pretrained wrote"
            raise CheckpointError(f"{self.path}: no config.json in it", hint)
        return _json(file)

    @functools.cached_property
    def processor(self) -> Mapping[str, Any]:
        """What turns pictures into its input; {} where there is none."""
        for name in _PROCESSORS:
            if (self.path / name).is_file():
                found = _json(self.path / name)
                inner = found.get("image_processor")
                return inner if isinstance(inner, dict) else found
        return {}

    @property
    def weights(self) -> list[Path]:
        """The files that hold them, the list of parts first where there is one."""
        for name in _WEIGHTS:
            if (file := self.path / name).is_file():
                return [file]
            if (index := self.path / f"{name}.index.json").is_file():
                return [index, *self._parts(index)]
        found = ", ".join(sorted(file.name for file in self.path.iterdir())[:8]) or "nothing"
        wanted = " or ".join(_WEIGHTS)
        raise CheckpointError(f"{self.path}: no {wanted} in it, but {found}", "save it with save_pretrained")

    def _parts(self, index: Path) -> list[Path]:
        names = _json(index).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(f"{index}: no weight_map in it", "fetch it again")
        parts = [self.path / name for name in sorted(set(names.values()))]
        for part in parts:
            if part.parent != self.path or not part.is_file():
                raise CheckpointError(f"{index}: it names {part.name}, which is not beside it", "fetch all parts")
        return parts

    @property
    def code(self) -> list[Path]:
        """Python that came with it; it is not run unless the spec says so."""
        return sorted(self.path.glob("*.py"))

    @property
    def files(self) -> list[Path]:
        """Every file that decides what the model answers."""
        _ = self.config
        processors = [self.path / name for name in _PROCESSORS if (self.path / name).is_file()]
        return [self.path / "config.json", *processors, *self.weights]

    @property
    def architecture(self) -> str:
        """The class that it was saved from; "" where it does not say."""
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""

    @property
    def kind(self) -> str:
        """Such as `bert`."""
        return str(self.config.get("model_type", ""))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes; none where they are only numbered."""
        said = self.config.get("id2label")
        numbered = {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}
        names = tuple(numbered.get(str(number), "") for number in range(len(numbered)))
        plain = all(name in ("", f"LABEL_{number}") for number, name in enumerate(names))
        return () if plain or "" in names else names

    @property
    def classes(self) -> int:
        """How many, as transformers counts them: two where nothing is said."""
        said = self.config.get("id2label")
        return len(said) if isinstance(said, dict) else int(self.config.get("num_labels", 2))

    def head(self, architecture: str) -> Head | None:
        """Of a detector."""
        if not architecture.endswith("ForObjectDetection"):
            return None
        named: dict[str, Any] = {"boxes": ("pred_boxes",), "scores": ("logits",)}
        if self.kind in _NO_OBJECT:
            return Detr(classes=self.classes + 1, activation="softmax", **named)
        return Detr(classes=self.classes, activation="sigmoid", **named)

    @property
    def chooses(self) -> bool:
        """Does it choose its queries by score, so that their order means nothing?"""
        return self.kind in _CHOOSERS and (self.kind != "deformable_detr" or bool(self.config.get("two_stage")))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of its pictures; None where they are free."""
        sizes = (self.processor.get("crop_size") if self.processor.get("do_center_crop") else None, self.processor.get("size"))
        return next((found for said in (*sizes, self._own_size) if (found := _size(said)) is not None), None)

    @property
    def _own_size(self) -> Any:
        if self.kind in _NO_OBJECT or self.kind in _CHOOSERS:
            return None
        return next((held["image_size"] for held in self._configs if held.get("image_size")), None)

    @property
    def _configs(self) -> list[Mapping[str, Any]]:
        """The config, and those of its parts."""
        keys = ("vision_config", "text_config", "encoder", "decoder", "backbone_config")
        return [self.config, *(held for key in keys if isinstance(held := self.config.get(key), dict))]

    def number(self, *names: str, default: int = 0) -> int:
        """The first of these that its config says, or one of its parts'."""
        found = (held[name] for held in self._configs for name in names if isinstance(held.get(name), int))
        return next(found, default)

    @property
    def longest(self) -> int | None:
        """Words that it has positions for; None where there is no end."""
        most = self.number("max_position_embeddings", "n_positions", "max_source_positions")
        offset = 1 + self.number("pad_token_id", default=1) if any(name in self.kind for name in _OFFSET) else 0
        return most - offset if most > offset else None

    def inputs(self, known: Mapping[str, Any], size: tuple[int, int] | None, vocabulary: int) -> dict[str, Input]:
        """For a model whose forward takes the parameters `known`; `size` fixes height and width."""
        found: dict[str, Input] = {}
        if "pixel_values" in known:
            channels = self.number("num_channels", default=3)
            found["pixel_values"] = Input(shape=("batch", channels, *(size or ("height", "width"))))
        if "input_ids" in known:
            found["input_ids"] = _words("length", vocabulary)
            found |= {"attention_mask": Mask(dtype="INT64", shape=("batch", "length"))} if "attention_mask" in known else {}
            kinds = self.number("type_vocab_size")
            found |= {"token_type_ids": _words("length", kinds)} if "token_type_ids" in known and kinds > 1 else {}
        if "decoder_input_ids" in known:
            found["decoder_input_ids"] = _words("decoder_length", vocabulary)
        if not found and "input_values" in known:
            found["input_values"] = Input(shape=("batch", "samples"), range=(-1, 1))
        return found

    @property
    def axes(self) -> dict[str, Axis]:
        """Lengths of the free axes."""
        words, side = Axis(max=self.longest), Axis(min=64, max=2048, multiple_of=32, example=256)
        sound = Axis(min=4000, max=480_000, example=16_000)
        return {"length": words, "decoder_length": words, "height": side, "width": side, "samples": sound}


def _words(axis: str, count: int) -> Input:
    return Input(dtype="INT64", shape=("batch", axis), range=(0, count))


def _size(said: Any) -> tuple[int, int] | None:
    """Of 224, [224, 224] or {"height": 224, "width": 224}."""
    if isinstance(said, dict):
        said = [said.get("height"), said.get("width")]
    found = [said, said] if isinstance(said, int) else said
    if not isinstance(found, list) or len(found) != 2 or not all(isinstance(side, int) for side in found):
        return None
    return found[0], found[1]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not JSON, or cut short: {error}", "fetch it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, expected names and values", "fetch it again")
    return found
