"""transformers: a folder that `save_pretrained` wrote."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator import extras, image_processors
from generator.errors import CheckpointError
from generator.fields import SpecFolder
from generator.inputs import Axis, Input
from generator.model_folder import ModelFolder
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch

    from generator.heads import Head

Task = Literal[
    "feature-extraction", "image-classification", "object-detection", "semantic-segmentation", "universal-segmentation",
    "depth-estimation", "text-classification", "token-classification", "question-answering", "fill-mask", "text-generation",
    "text2text-generation", "audio-classification",
]  # fmt: skip
#: What a model is for -> the class that makes one of it.
_TASKS: dict[Task, str] = {
    "feature-extraction": "AutoModel",
    "image-classification": "AutoModelForImageClassification",
    "object-detection": "AutoModelForObjectDetection",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "universal-segmentation": "AutoModelForUniversalSegmentation",
    "depth-estimation": "AutoModelForDepthEstimation",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "audio-classification": "AutoModelForAudioClassification",
}
#: What a class is called at its end -> the outputs that are served; all, where it is not here.
_OUTPUTS = {
    "ForObjectDetection": ("logits", "pred_boxes"),
    "ForQuestionAnswering": ("start_logits", "end_logits"),
    "ForUniversalSegmentation": ("class_queries_logits", "masks_queries_logits"),
    "ForInstanceSegmentation": ("class_queries_logits", "masks_queries_logits"),
    "ForSegmentation": ("logits", "pred_boxes", "pred_masks"),
    "ForDepthEstimation": ("predicted_depth",),
    "LMHeadModel": ("logits",),
    **dict.fromkeys(("CLIPModel", "SiglipModel"), ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds")),
    **dict.fromkeys(
        (
            "ForImageClassification", "ForSemanticSegmentation", "ForSequenceClassification", "ForTokenClassification",
            "ForMaskedLM", "ForCausalLM", "ForConditionalGeneration", "ForMultipleChoice", "ForAudioClassification", "ForCTC",
        ),
        ("logits",),
    ),
}  # fmt: skip


def _free_lengths(model: torch.nn.Module) -> None:
    """`len(tensor)` is a plain number, which fixes that axis in torch.export: in the model's files it becomes `shape[0]`."""
    import torch

    def length(value: Any) -> Any:
        return value.shape[0] if isinstance(value, torch.Tensor) else len(value)

    for name in {type(part).__module__ for part in model.modules()}:
        if name.startswith(("transformers.models.", "transformers_modules.")):
            vars(sys.modules[name])["len"] = length


class Transformers(TorchFrontend):
    """A local folder of Hugging Face transformers: vision, and text without a cache. Inputs, head and classes come with it.

    Inputs are called as transformers calls them: `pixel_values`; `input_ids`, `attention_mask` and `token_type_ids`, free axes
    `batch` and `length`; `decoder_input_ids`. Nothing is fetched, and no code of the folder is run.
    """

    kind: Literal["transformers"] = "transformers"
    sources: ClassVar[tuple[str, ...]] = ("../model_folder.py", "../image_processors.py", "../extras.py")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "transformers", "safetensors")

    folder: Annotated[SpecFolder, Field(description="The folder with config.json and model.safetensors.")]
    task: Annotated[
        Task | None, Field(description="What it is for, as transformers' pipelines call it; left out: what it was saved as.")
    ] = None
    architecture: Annotated[
        str | None, Field(description="The class, such as `BertForMaskedLM`; left out: the one that it was saved from.")
    ] = None
    arguments: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="More for from_pretrained, such as `{add_pooling_layer: false}`."),
    ]
    size: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None,
        Field(description="[height, width] of pictures; left out: as the folder says, else free."),
    ] = None
    trust_checkpoint: Annotated[bool, Field(description="Run the folder's Python files, where its class is in them.")] = False

    def files(self) -> list[Path]:
        """config.json, the weights, and how pictures are prepared; with the word of trust its code, too."""
        return [*self._folder.files, *(self._folder.code if self.trust_checkpoint else ()), *self.code()]

    def taken(self) -> Mapping[str, Input]:
        """As the class's `forward` and the config say. Raises CheckpointError where that is nothing known."""
        return self.inputs or self._taken

    def ranges(self) -> Mapping[str, Axis]:
        """As long as it has positions for."""
        return {**self._folder.axes, **self.axes}

    def given(self) -> list[str]:
        """What the task is about: no hidden states beside it."""
        name = self._class.__name__
        found = next((outputs for end, outputs in _OUTPUTS.items() if name.endswith(end)), ())
        return list(self.outputs) or list(found)

    def head(self) -> Head | None:
        """Of detectors."""
        return self._folder.head(self._class.__name__)

    def labels(self) -> tuple[str, ...]:
        """`id2label`."""
        return self._folder.labels

    def preprocessing(self) -> Mapping[str, Any]:
        """What preprocessor_config.json comes to here."""
        return image_processors.preprocessing(self._folder.processor)

    def unordered(self) -> tuple[tuple[str, ...], ...]:
        """The queries of detectors that choose them by score."""
        return (("logits", "pred_boxes"),) if self._folder.chooses else ()

    def module(self) -> torch.nn.Module:
        """The model in FP32 and eval mode. Raises CheckpointError for weights that do not fit."""
        given = {"local_files_only": True, "trust_remote_code": self.trust_checkpoint, "output_loading_info": True}
        try:
            model, info = self._class.from_pretrained(str(self.folder), config=self._config, **given, **self.arguments)
        except Exception as error:
            raise self._cannot("cannot load it", error) from None
        if missing := sorted(info["missing_keys"]):
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise CheckpointError(
                f"{self.folder}: {self._class.__name__} needs weights that are not there: {shown}",
                "say the task or architecture that it was trained as, or `arguments: {add_pooling_layer: false}` for a pooler",
            )
        _free_lengths(model)
        module: torch.nn.Module = model.float().eval()
        return module

    def _cannot(self, what: str, error: BaseException) -> CheckpointError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = (lines or [type(error).__name__])[0][:300]
        return CheckpointError(f"{self.folder}: transformers {what}: {first}", "see the folder's files, or fetch it again")

    @functools.cached_property
    def _folder(self) -> ModelFolder:
        return ModelFolder(self.folder)

    @functools.cached_property
    def _library(self) -> Any:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ.setdefault(name, "1")
        library = extras.library("transformers", "transformers", self.kind)
        library.logging.set_verbosity_error()
        return library

    @functools.cached_property
    def _config(self) -> Any:
        given = {"local_files_only": True, "trust_remote_code": self.trust_checkpoint}
        try:
            config = self._library.AutoConfig.from_pretrained(str(self.folder), **given)
        except Exception as error:
            raise self._untrusted() or self._cannot("cannot read its config", error) from None
        config.use_cache = False
        return config

    def _untrusted(self) -> CheckpointError | None:
        if self.trust_checkpoint or not self._folder.config.get("auto_map"):
            return None
        named = ", ".join(path.name for path in self._folder.code) or "auto_map"
        return CheckpointError(
            f"{self.folder}: loading it runs code from the folder ({named})",
            "if you trust whoever made it, say `trust_checkpoint: true`",
        )

    @functools.cached_property
    def _class(self) -> Any:
        """The class of the model: the spec's, its task's, or the one that it was saved from. Raises CheckpointError."""
        name = _TASKS[self.task] if self.task else self.architecture or self._folder.architecture or "AutoModel"
        found = getattr(self._library, name, None)
        if found is None:
            found = self._remote(name)
        mapping = getattr(found, "_model_mapping", None)
        if mapping is None:
            return found
        try:
            return mapping[type(self._config)]
        except KeyError:
            what = f"{self.folder}: transformers has no {name} of a {self._folder.kind}"
            raise CheckpointError(what, "correct `task:`") from None

    def _remote(self, name: str) -> Any:
        """A class of the folder's own code."""
        auto = self._folder.config.get("auto_map")
        mapped = {str(value).rpartition(".")[2]: value for value in auto.values()} if isinstance(auto, dict) else {}
        if name not in mapped:
            version = self._library.__version__
            raise CheckpointError(
                f"{self.folder}: transformers {version} has no class {name}",
                "correct `architecture:`, or install the transformers that it was saved with",
            )
        if (refused := self._untrusted()) is not None:
            raise refused
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        return get_class_from_dynamic_module(mapped[name], str(self.folder), local_files_only=True)

    @functools.cached_property
    def _taken(self) -> dict[str, Input]:
        known = dict(inspect.signature(self._class.forward).parameters)
        if not self._config.is_encoder_decoder:
            known.pop("decoder_input_ids", None)
        text = self._config.get_text_config()
        found = self._folder.inputs(known, self.size or self._folder.size, int(getattr(text, "vocab_size", 0) or 0))
        if not found:
            raise CheckpointError(
                f"{self.folder}: what {self._class.__name__} takes is not known here ({', '.join(known)})",
                "add `inputs: {name: [batch, ...]}` to the checkpoint",
            )
        return found
