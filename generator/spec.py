"""The one data model: what a pipeline's YAML may say, frozen once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from generator.backends import Backend
from generator.bounds import Bounds
from generator.config_block import ConfigBlock, invalid
from generator.config_reading import Mistake
from generator.fields import Name, SpecFile
from generator.frontends import Frontend
from generator.heads import Head
from generator.nms import Nms
from generator.passes import Pass
from generator.plugin import Choice, Model
from generator.postprocessing import Postprocess
from generator.precisions import Precision
from generator.preprocessing import Preprocess
from generator.serving import Serving

#: Opset 18 is what every onnxruntime since 1.14 and TensorRT since 8.6 read; the 24.10 container carries 1.19.
DEFAULT_OPSET = 18


class Verify(Model):
    """What the parity ladder runs on."""

    images: Annotated[tuple[SpecFile, ...], Field(description="Real pictures; each goes through every rung.")] = ()
    samples: Annotated[
        tuple[dict[str, Any], ...],
        Field(
            description="Of a bare model: one sample each, input -> a number, nested lists or a .npy file; the others are seeded."
        ),
    ] = ()
    bounds: Bounds = Bounds()


def _unnamed(block: Mapping[str, Any]) -> Mapping[str, Any]:
    if "name" in block:
        text = "the name of a generated model follows from the spec's; remove it, and say `name:` at the top of the spec"
        raise invalid([Mistake(("name",), block["name"], text)])
    return block


#: What a pipeline's spec says of one of its models.
PartBlock = Annotated[ConfigBlock, AfterValidator(_unnamed)]
_NOTHING: Mapping[str, Any] = {}


class Config(Model):
    """Fields of config.pbtxt, by their names in model_config.proto, on top of what follows from the rest of the spec."""

    ensemble: Annotated[PartBlock, Field(description="For the ensemble, which clients call.")] = _NOTHING
    preprocess: Annotated[PartBlock, Field(description="For its first step.")] = _NOTHING
    model: Annotated[PartBlock, Field(description="For the model itself, also where it is served bare.")] = _NOTHING
    head: Annotated[PartBlock, Field(description="For head and NMS where they are a step of their own (target pytorch).")] = (
        _NOTHING
    )
    postprocess: Annotated[PartBlock, Field(description="For its last step.")] = _NOTHING

    def said(self, role: str) -> Mapping[str, Any]:
        """What is said of one model; nothing where it has no block."""
        found: Mapping[str, Any] = getattr(self, role)
        return found


class Variant(Model):
    """What a variant says anew; all else is the spec's. `serving`, `config` and `verify` are merged key by key."""

    target: Annotated[Annotated[Backend, Choice("generator.backends")] | None, Field(description="What serves it.")] = None
    precision: Annotated[
        Annotated[Precision, Choice("generator.precisions")] | None, Field(description="How its numbers are held.")
    ] = None
    opset: Annotated[int | None, Field(ge=17, le=21, description="ONNX opset of its graph.")] = None
    surgery: Annotated[
        tuple[Annotated[Pass, Choice("generator.passes")], ...] | None, Field(description="Changes of its exported graph.")
    ] = None
    nms: Annotated[Annotated[Nms, Choice("generator.nms")] | None, Field(description="Its NMS.")] = None
    serving: Annotated[dict[str, Any], Field(description="Keys of `serving:` that differ.")] = Field(default_factory=dict)
    config: Annotated[dict[str, Any], Field(description="Keys of `config:` that differ.")] = Field(default_factory=dict)
    verify: Annotated[dict[str, Any], Field(description="Keys of `verify:` that differ.")] = Field(default_factory=dict)


class Spec(Model):
    """One pipeline: a trained checkpoint and how it is served."""

    name: Annotated[
        Name, Field(description="The served ensemble's name; its steps are NAME_preprocess, NAME_model, NAME_postprocess.")
    ]
    checkpoint: Annotated[Frontend, Choice("generator.frontends"), Field(description="The trained model.")]
    opset: Annotated[int, Field(ge=17, le=21, description="ONNX opset of the exported graph.")] = DEFAULT_OPSET
    surgery: Annotated[
        tuple[Annotated[Pass, Choice("generator.passes")], ...],
        Field(description="Changes of the exported graph, in this order; head, NMS and preprocess see what they leave."),
    ] = ()
    head: Annotated[
        Annotated[Head, Choice("generator.heads")] | None,
        Field(description="How raw outputs become boxes; left out where the checkpoint states it."),
    ] = None
    nms: Annotated[Annotated[Nms, Choice("generator.nms")] | None, Field(description="Appended to the graph after the head.")] = (
        None
    )
    precision: Annotated[Precision, Choice("generator.precisions"), Field(validate_default=True)] = Field(
        default_factory=lambda: _default("generator.precisions", "fp32")
    )
    target: Annotated[Backend, Choice("generator.backends")] = Field(
        default_factory=lambda: _default("generator.backends", "onnxruntime")
    )
    preprocess: Annotated[
        Annotated[Preprocess, Choice("generator.preprocessing")] | None,
        Field(description="From an encoded picture to pixels, on the server; left out, the model is served bare."),
    ] = None
    postprocess: Annotated[
        Annotated[Postprocess, Choice("generator.postprocessing")] | None,
        Field(description="From the model's outputs to the answer."),
    ] = None
    external_data_from: Annotated[
        int,
        Field(
            ge=0, le=1900, description="From so many MiB of weights on they lie in `model.onnx.data` beside the graph; 0: always."
        ),
    ] = 1024
    serving: Serving = Serving()
    config: Annotated[Config, Field(description="Any other field of config.pbtxt, for each model.")] = Config()
    verify: Verify = Verify()
    variants: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], Variant],
        Field(description="The same checkpoint again for other targets or precisions, each served as NAME_VARIANT beside it."),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _belongs_together(self) -> Spec:
        if self.head is not None and self.nms is None:
            raise ValueError("a head without nms: say `nms: {kind: onnx}`")
        if (self.preprocess is None) != (self.postprocess is None):
            raise ValueError("preprocess and postprocess make the ensemble together: say both, or neither for the bare model")
        if self.preprocess is None and (extra := [role for role, said in self.config if said and role != "model"]):
            text = "there is no such model: without preprocess and postprocess it is served bare; say `config.model`"
            raise invalid(Mistake(("config", role), None, text) for role in extra)
        if self.config.head and "head" not in self.steps:
            raise invalid(
                [Mistake(("config", "head"), None, "there is no such model: head and NMS are in the model's own graph")]
            )
        return self

    @model_validator(mode="after")
    def _knows_its_classes(self) -> Spec:
        """Where the spec names no classes, those of the checkpoint serve."""
        post = self.postprocess
        if post is not None and not post.named and (names := self.checkpoint.labels()):
            object.__setattr__(self, "postprocess", post.model_copy(update={"names": names}))
        return self

    @property
    def steps(self) -> tuple[str, ...]:
        """The ensemble's steps by role, each a model NAME_ROLE; none where the model is served bare."""
        if self.preprocess is None:
            return ()
        return ("preprocess", "model", *(["head"] if self.nms and self.target.runs_module else []), "postprocess")

    @property
    def model_name(self) -> str:
        """The folder of the model itself: NAME where it is served bare, NAME_model inside an ensemble."""
        return self.name if self.preprocess is None else f"{self.name}_model"


def _default(package: str, kind: str) -> Any:
    from generator.plugin import family

    return family(package)[kind]()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline's YAML (draft 2020-12)."""
    from generator.config_schema import shared

    schema = shared(Spec.model_json_schema(mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "triton-repo pipeline", **schema}


def spec_paths(spec: Spec) -> list[Path]:
    """Every file the spec names besides the checkpoint's own."""
    labels = [spec.postprocess.labels] if spec.postprocess and spec.postprocess.labels else []
    return [*labels, *spec.verify.images]
