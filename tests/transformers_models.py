"""Small models of Hugging Face transformers with random weights, as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_WORDS = {"vocab_size": 200, "max_position_embeddings": 128}
_STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
_RESNET = {"embedding_size": 16, "layer_type": "basic", **_STAGES}
_DETECTOR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 20, "num_labels": 4,
}  # fmt: skip
#: Class -> config.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "BertModel": ("BertConfig", {**_SMALL, **_WORDS}),
    "BertForSequenceClassification": ("BertConfig", {**_SMALL, **_WORDS, "num_labels": 3}),
    "BertForTokenClassification": ("BertConfig", {**_SMALL, **_WORDS, "num_labels": 5}),
    "BertForQuestionAnswering": ("BertConfig", {**_SMALL, **_WORDS}),
    "RobertaForMaskedLM": ("RobertaConfig", {**_SMALL, "vocab_size": 200, "max_position_embeddings": 66, "type_vocab_size": 1}),
    "DistilBertModel": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, **_WORDS}),
    "GPT2LMHeadModel": ("GPT2Config", {"vocab_size": 200, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2}),
    "LlamaForCausalLM": ("LlamaConfig", {**_SMALL, **_WORDS, "num_key_value_heads": 2}),
    "T5ForConditionalGeneration": (
        "T5Config", {"vocab_size": 200, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    ),
    "BartForConditionalGeneration": ("BartConfig", {**_DETECTOR, **_WORDS}),
    "ViTForImageClassification": ("ViTConfig", {**_SMALL, "image_size": 64, "patch_size": 16, "num_labels": 10}),
    "ConvNextForImageClassification": ("ConvNextConfig", {**_STAGES, "image_size": 64, "num_labels": 10}),
    "ResNetForImageClassification": ("ResNetConfig", {**_RESNET, "num_labels": 10}),
    "SegformerForSemanticSegmentation": (
        "SegformerConfig",
        {**_STAGES, "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 32, "num_labels": 6, "image_size": 64},
    ),
    "DetrForObjectDetection": ("DetrConfig", {**_DETECTOR, "use_timm_backbone": False, "use_pretrained_backbone": False}),
    "YolosForObjectDetection": (
        "YolosConfig", {**_SMALL, "image_size": [64, 96], "patch_size": 16, "num_detection_tokens": 20, "num_labels": 4}
    ),
    "CLIPModel": (
        "CLIPConfig",
        {"text_config": {**_SMALL, **_WORDS}, "vision_config": {**_SMALL, "image_size": 64, "patch_size": 16},
         "projection_dim": 16},
    ),
    "Wav2Vec2ForCTC": (
        "Wav2Vec2Config",
        {**_SMALL, "conv_dim": (16, 16, 16), "conv_stride": (5, 4, 2), "conv_kernel": (10, 8, 4), "num_feat_extract_layers": 3,
         "vocab_size": 30, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    ),
}  # fmt: skip


def save(name: str, folder: Path, **said: Any) -> Path:
    """The folder, with a seeded model of that class."""
    import torch

    library: Any = pytest.importorskip("transformers")
    config, values = KINDS[name]
    if name.startswith("Detr"):
        values = {**values, "backbone_config": library.ResNetConfig(**_RESNET, out_features=["stage4"]), "backbone": None}
    torch.manual_seed(0)
    model = getattr(library, name)(getattr(library, config)(**{**values, **said}))
    model.save_pretrained(folder)
    return folder
