"""A spec resolved: what its models are called, take and give, and how they are wired. Pure; nothing is built here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from generator import module_target, recognise, sized
from generator.backends import Order, Unfit
from generator.bounds import Bounds
from generator.detection import Candidates
from generator.errors import SpecError, SurgeryError
from generator.frontends import Interface
from generator.heads import Head
from generator.load import place
from generator.parts import Edge, Part
from generator.passes import Known
from generator.picture import DTYPES, Picture, read
from generator.postprocessing import label_names
from generator.preprocessing import ENCODED
from generator.scalars import lifted
from generator.spec import Spec
from generator.tensors import Tensor

__all__ = ["Edge", "Learned", "Part", "Pipeline"]


@dataclass(frozen=True)
class Learned:
    """What an export told: the graph, and what of it was not known before."""

    file: Path
    interface: Interface


@dataclass(frozen=True)
class Pipeline:
    """A spec with everything derived from the checkpoint filled in."""

    path: Path
    spec: Spec
    #: Of a checkpoint that does not say its inputs and outputs before it is exported: the export, once it is there.
    learned: Learned | None = None
    #: Which of the file's `variants:` it is; "" for the spec itself.
    variant: str = ""

    @functools.cached_property
    def stated(self) -> Interface | None:
        """What the checkpoint says of itself before it is exported."""
        return self.spec.checkpoint.interface()

    @property
    def pending(self) -> bool:
        """Are inputs and outputs still unknown?"""
        return self.learned is None and self.stated is None

    @functools.cached_property
    def source(self) -> Interface:
        """The checkpoint's own inputs and outputs. Raises SpecError while they are unknown."""
        if (found := self.learned.interface if self.learned else self.stated) is not None:
            return found
        what = f"inputs and outputs of kind {self.spec.checkpoint.kind} are known once it is exported"
        raise self.error(("checkpoint",), what, f"triton-repo build {self.path}")

    @functools.cached_property
    def operated(self) -> Interface:
        """Inputs and outputs after the spec's own `surgery:`, before a size is set."""
        known = Known(self.source.inputs, self.source.outputs, functools.cache(self._tensors))
        for index, step in enumerate(self.spec.surgery):
            try:
                known = step.interface(known)
            except SurgeryError as error:
                raise self.error(("surgery", index), f"{step.kind}: {error.message}", error.remedy) from None
        return replace(self.source, inputs=known.inputs, outputs=known.outputs)

    def _tensors(self) -> Mapping[str, Tensor]:
        if self.learned is None:
            return self.spec.checkpoint.tensors()
        from generator.graph import inner, load

        return inner(load(self.learned.file, weights=False))

    @functools.cached_property
    def raw(self) -> Interface:
        """What head, NMS and preprocess build on: after surgery, at `preprocess.size` where height and width are free."""
        found, pre = self.operated, self.spec.preprocess
        picture = read(found.inputs)
        if pre is None or pre.size is None or picture is None:
            return found
        if any(own not in (-1, said) for own, said in zip(picture.size, pre.size, strict=True)):
            what = f"size is {list(pre.size)}; the model takes {picture.tensor}"
            raise self.error(("preprocess", "size"), what, "leave size out: the model has its own, or export it for that one")
        file, tensor = self.learned.file if self.learned else self.spec.checkpoint.onnx_file(), picture.sized(*pre.size)
        outputs = sized.outputs(file, tensor, found.outputs) if file and not self.spec.surgery else found.outputs
        return Interface((tensor,), outputs, found.head)

    @functools.cached_property
    def picture(self) -> Picture:
        """The model's picture input. Raises SpecError where it has none, leaves its size free, or the preprocess does not fit."""
        picture = read(self.raw.inputs)
        if picture is None:
            found = ", ".join(map(str, self.raw.inputs))
            raise self.error(
                ("preprocess",), f"the model takes {found}; a picture needs one input [batch, 3, height, width] or"
                f" [batch, height, width, 3] of {', '.join(DTYPES)}",
                "export it with a dynamic batch and a fixed size, or leave preprocess and postprocess out",
            )  # fmt: skip
        if min(picture.size) < 1:
            fix = "say `size: [height, width]` under `preprocess:`, as in its training"
            raise self.error(("preprocess",), f"the model takes {picture.tensor}: its size is free", fix)
        self._suits(picture)
        return picture

    def _suits(self, picture: Picture) -> None:
        pre = self.spec.preprocess
        assert pre is not None
        for misfit in pre.misfits(*picture.size):
            raise self.error(("preprocess", misfit.field), misfit.what, misfit.remedy)
        if picture.tensor.dtype != "UINT8":
            return
        for name, nothing in (("scale", 1), ("mean", (0, 0, 0)), ("std", (1, 1, 1))):
            value = getattr(pre, name)
            if value not in (nothing, type(pre).model_fields[name].default):
                what = f"{name} is {value}; the model takes {picture.tensor}, levels as they are"
                raise self.error(("preprocess", name), what, f"leave {name} out")

    @functools.cached_property
    def head(self) -> Head | None:
        """Where NMS is asked for: the spec's head, else the checkpoint's, else the only one that fits. Raises SpecError."""
        return (self.spec.head or self.raw.head or self._recognised()) if self.spec.nms else None

    def _recognised(self) -> Head:
        labels = self.spec.postprocess.label_names() if self.spec.postprocess else []
        found = recognise.fitting(self.image, self.raw.outputs, len(labels)) if len(self.raw.inputs) == 1 else []
        if len(found) == 1:
            return found[0]
        raise self.error(
            ("nms",),
            f"nms needs a head, and checkpoint kind {self.spec.checkpoint.kind} does not state one; "
            f"{f'{len(found)} fit' if found else 'by its shapes none is known for'} {', '.join(map(str, self.raw.outputs))}",
            "say which, in one of these lines:\n  " + "\n  ".join(map(recognise.line, found))
            if found
            else "add `head:`; docs/heads.md lists what each takes",
        )

    @functools.cached_property
    def candidates(self) -> Candidates | None:
        """What the head gives for each picture, before NMS; None without one. Raises SpecError where they do not fit."""
        if self.spec.nms is None or self.head is None:
            return None
        try:
            found = self.head.candidates(self.image, self.raw.outputs)
        except SurgeryError as error:
            raise self.error(("head",), error.message, error.remedy) from None
        try:
            self.spec.nms.check(found)
        except SurgeryError as error:
            loc = ("nms", "max_detections") if "max_detections" in error.message else ("nms",)
            raise self.error(loc, error.message, error.remedy) from None
        return found

    @functools.cached_property
    def model(self) -> Part:
        """The model itself, as its final graph is: head and NMS in it."""
        try:
            inputs, outputs = self.spec.precision.tensors(self.fp32.inputs, self.fp32.outputs)
        except SurgeryError as error:
            raise self.error(("precision",), error.message, error.remedy) from None
        return replace(self.fp32, inputs=inputs, outputs=outputs)

    @functools.cached_property
    def fp32(self) -> Part:
        """The model itself after surgery, in the precision of its training."""
        inputs, outputs = (tuple(map(lifted, side)) for side in (self.raw.inputs, self.raw.outputs))
        if self.spec.preprocess:
            height, width = self._canvas()
            inputs = self.spec.preprocess.outputs(height, width)[:1]
        if self.spec.nms is not None and self.candidates is not None:
            inputs, outputs = (*inputs, *self.spec.nms.inputs()), self.spec.nms.served(self.candidates)
        return Part(self.spec.model_name, "model", inputs, outputs)

    @functools.cached_property
    def network(self) -> Part:
        """What the target itself runs: the model, or in front of its head and NMS the checkpoint's own module."""
        found = module_target.network(self) if self.spec.target.runs_module else self.model
        return found.called(self.spec.target)

    @functools.cached_property
    def parts(self) -> tuple[Part, ...]:
        """The model folders in the order of the data, without the ensemble."""
        pre, post = self.spec.preprocess, self.spec.postprocess
        if pre is None or post is None:
            return (self.network,)
        height, width = self._canvas()
        name = self.spec.name
        self._labels_fit()
        try:
            taken = post.inputs(self.model.outputs)
        except SpecError as error:
            raise self.error(("postprocess",), error.message, error.remedy) from None
        return (
            Part(
                f"{name}_preprocess", "preprocess", (ENCODED,), pre.outputs(height, width), pre.template,
                pre.parameters(height, width),
            ),
            self.network,
            *(module_target.head(self) if self.spec.target.runs_module else ()),
            Part(
                f"{name}_postprocess", "postprocess", taken, post.outputs(self.model.outputs), post.template, post.parameters(),
            ),
        )  # fmt: skip

    @functools.cached_property
    def served(self) -> Part:
        """What clients call: the ensemble, or the bare model."""
        self.labels_fit()
        if self.spec.preprocess is None:
            return self.network
        own, said = (self.spec.nms.inputs(), self.spec.nms.values()) if self.spec.nms else ((), {})
        parameters = {name: repr(value) for name, value in said.items()}
        return Part(self.spec.name, "ensemble", (*self.parts[0].inputs, *own), self.parts[-1].outputs, parameters=parameters)

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every tensor of the ensemble; empty for a bare model. Raises SpecError for one that does not fit or is missing."""
        if self.spec.preprocess is None:
            return ()
        produced: dict[str, tuple[str | None, Tensor, str]] = {t.name: (None, t, t.name) for t in self.served.inputs}
        edges: list[Edge] = []
        for part in self.parts:
            for wanted in part.inputs:
                name = part.own_name(wanted.name)
                if name not in produced:
                    raise self.error(
                        ("postprocess",), f"{part.name} takes {wanted}, which no step before it gives", "change the postprocess"
                    )
                source, tensor, key = produced[name]
                if not wanted.accepts(tensor):
                    raise self.error((part.role,), f"{part.name} takes {wanted}, {source} gives {tensor}", "change one of them")
                edges.append(Edge(source, part.name, tensor, wanted, key))
            last = part is self.parts[-1]
            given = [(part.own_name(tensor.name), tensor) for tensor in part.outputs]
            produced.update({name: (part.name, t, name if last else f"{part.role}_{name}") for name, t in given})
        edges.extend(Edge(self.parts[-1].name, None, t, t, t.name) for t in self.served.outputs)
        return tuple(edges)

    @property
    def bounds(self) -> Bounds:
        """How far what is served may be from what was trained."""
        return self.spec.precision.allowed() or self.spec.verify.bounds

    @property
    def max_batch_size(self) -> int:
        """Of what clients call, as in its config.pbtxt."""
        return self.batch_size("ensemble" if self.spec.preprocess else "model")

    @property
    def batched(self) -> bool:
        """Is the first axis of everything that the model takes and gives a batch?"""
        return all(tensor.batched for part in (self.model, self.network) for tensor in (*part.inputs, *part.outputs))

    def batch_size(self, role: str) -> int:
        """The `max_batch_size` of one model: what `config:` says of it, else `serving:` and the target; 0 where it has none."""
        said = self.spec.config.said(role).get("max_batch_size")
        wanted = self.spec.serving.max_batch_size * self.batched
        return said if said is not None else self.spec.target.batch_size(wanted) if role == "model" else wanted

    def _canvas(self) -> tuple[int, int]:
        return self.picture.size

    @property
    def image(self) -> Tensor:
        """The first input as heads think of it: a picture has its channels first."""
        picture = read(self.raw.inputs)
        return picture.planes if picture else self.raw.inputs[0]

    def _labels_fit(self) -> None:
        post = self.spec.postprocess
        if post is None or not post.named or self.head is None:
            return
        assert self.candidates is not None
        names, classes = post.label_names(), self.candidates.classes
        # of a background that is the last class lists of labels say nothing
        if len(names) not in {classes, classes - (self.candidates.background == classes - 1)}:
            raise self.error(
                ("postprocess", "labels"),
                f"{post.names_from} has {len(names)} labels, the head has {classes} classes",
                "use the list of its training",
            )

    def target_fits(self) -> None:
        """Raise SpecError where the target cannot run what the spec asks for; asked before anything is exported."""
        nms, target, precision = self.spec.nms, self.spec.target, self.spec.precision.kind
        if precision not in target.precisions:
            what, runs = f"target {target.kind} does not run {precision}", ", ".join(target.precisions)
            raise self.error(("precision", "kind"), what, f"say one that it runs: {runs}; or another target")
        if nms is not None and nms.plugin and nms.plugin not in target.plugins:
            raise self.error(
                ("nms", "kind"), f"{nms.plugin} is a TensorRT plugin, which target {target.kind} does not run",
                f"say `nms: {{kind: onnx}}`, or make the ONNX file for TensorRT alone: triton-repo onnx {self.path}",
            )  # fmt: skip
        if target.runs_module:
            module_target.fits(self)

    def target_takes(self) -> None:
        """Raise SpecError where the target cannot run the model; asked once inputs and outputs are known."""
        try:
            self.spec.target.judge(self.order(Path(), Path()))
        except Unfit as unfit:
            raise self.error(("target", *unfit.loc), unfit.what, unfit.remedy) from None

    def order(self, graph: Path, made: Path) -> Order:
        """What the target is to make its model from."""
        spec, model = self.spec, self.network.plain()
        batcher = spec.serving.dynamic_batching
        return Order(
            graph, model.inputs, model.outputs, self.batch_size("model"), batcher.preferred_batch_sizes if batcher else (),
            spec.checkpoint, spec.precision.kind, made, self.picture.normalised(spec.preprocess) if spec.preprocess else None,
        )  # fmt: skip

    def labels_fit(self) -> None:
        """Judge `serving.labels` of a bare model. Raises SpecError for an unknown output, and for another count of classes."""
        outputs = {tensor.name: tensor for tensor in self.model.outputs}
        for name, path in self.spec.serving.labels.items():
            loc = ("serving", "labels", name)
            if self.spec.preprocess is not None:
                raise self.error(loc, "an ensemble's labels belong to its postprocess", "say `labels:` under `postprocess:`")
            if name not in outputs:
                raise self.error(loc, f"the model has no output {name!r}", f"it has {', '.join(outputs)}")
            count, shape = len(label_names(path)), outputs[name].shape
            if not shape or shape[-1] not in (-1, count):
                what = f"{path} has {count} labels; expected as many as the last dimension of {outputs[name]}"
                raise self.error(loc, what, "use the list of its training")

    def error(self, loc: tuple[int | str, ...], what: str, remedy: str) -> SpecError:
        """A mistake at `loc` of the YAML, with its line."""
        return SpecError(f"{place(self.path, loc, self.variant)}: {what}", remedy)
