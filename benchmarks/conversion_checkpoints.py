"""The checkpoints of the conversion table: random weights from a seed, such that answers depend on the input and stay in range.

Fresh initialisation often proves nothing: last layers and layer scales start at zero, deep networks without normalisation fade
out, and BatchNorm's statistics fit no data. So constants get noise, every convolution and linear layer is scaled to outputs of
variance 1 on seeded inputs (LSUV: Mishkin, Matas 2015, arXiv:1511.06422), and BatchNorm takes the statistics of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import conversion_networks as networks
import torch
from torch import Tensor, nn

from generator import inputs

#: Of the variance of 1 that layers are scaled to.
_LEAST = 0.1
_SCALED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def alive(model: nn.Module, call: Any) -> None:
    """Make `model`, in eval mode, answer differently to different inputs; `call()` runs it once on seeded ones."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.is_floating_point() and value.numel() and bool((value == value.flatten()[0]).all()):
                value.add_(0.1 * torch.randn(value.shape, generator=random))
        seen: set[int] = set()
        hooks = [one.register_forward_pre_hook(_statistics) for one in model.modules() if hasattr(one, "running_mean")]
        hooks += [one.register_forward_hook(_scaled(seen)) for one in model.modules() if type(one) in _SCALED]
        call()
        for hook in hooks:
            hook.remove()


def _statistics(module: Any, inputs: tuple[Tensor, ...]) -> None:
    """Those of the first input that comes by; a channel that hardly varies on it keeps a variance, or it would be blown up."""
    values = inputs[0]
    if module.running_mean is None or module.__dict__.get("_taken") or values.numel() // values.shape[1] < 2:
        return
    axes = [axis for axis in range(values.dim()) if axis != 1]
    module.running_mean.copy_(values.mean(axes))
    module.running_var.copy_(values.var(axes).clamp(min=_LEAST))
    module.__dict__["_taken"] = True


def _scaled(seen: set[int]) -> Any:
    def hook(module: Any, _: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        scale = float(output.std())
        if id(module.weight) in seen or not scale > 1e-12:
            return None
        seen.add(id(module.weight))
        module.weight.div_(scale)
        if module.bias is not None:
            module.bias.div_(scale)
        return output / scale

    return hook


def picture(rows: int, *shape: int, seed: int = 0) -> Tensor:
    """FP32 [rows, *shape], between about -2 and 2: patches of any size and contrast, so that rows differ by more than noise."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(rows, shape[0], 5, 5, generator=random)
    smooth = nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return smooth * (0.5 + torch.rand(rows, 1, 1, 1, generator=random)) + 0.3 * torch.randn(rows, *shape, generator=random)


def calibration(*shape: int) -> Tensor:
    """FP32 [6, *shape]: patches, and the even noise that the exporter tries a model with."""
    noise = 4 * torch.rand(3, *shape, generator=torch.Generator().manual_seed(7)) - 2
    return torch.cat([picture(3, *shape), noise])


def timm(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A state dict; what the spec says of it."""
    library = import_module("timm")
    torch.manual_seed(0)
    model = library.create_model(entry["variant"]).eval()
    size = model.pretrained_cfg["input_size"]
    alive(model, lambda: model(calibration(*size)))
    torch.save(model.state_dict(), folder / "weights.pth")
    return {"kind": "timm", "model": entry["variant"], "weights": "weights.pth"}


def torchvision(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A state dict; what the spec says of it."""
    library = import_module("torchvision.models")
    torch.manual_seed(0)
    name = entry["variant"]
    detects = name in library.list_models(library.detection)
    segments = name in library.list_models(library.segmentation)
    model = library.get_model(name, weights=None, **({"weights_backbone": None} if detects or segments else {})).eval()
    crop = getattr(library.get_model_weights(name).DEFAULT.transforms(), "crop_size", [320])
    size = entry.get("size", crop[0])
    values = calibration(3, size, size)
    alive(model, lambda: model([*values] if detects else values))
    torch.save(model.state_dict(), folder / "weights.pth")
    said = {"inputs": {"image": ["batch", 3, size, size]}} if "size" in entry else {}
    return {"kind": "torchvision", "model": name, "weights": "weights.pth", **said}


def transformers(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A folder as `save_pretrained` writes it; what the spec says of it."""
    library = import_module("transformers")
    torch.manual_seed(0)
    said, backbone = dict(entry["config"]), dict(entry.get("backbone", {}))
    if backbone:
        said["backbone_config"] = getattr(library, backbone.pop("class"))(**backbone)
    maker = getattr(library, entry["architecture"])
    model = maker(maker.config_class(**said)).eval()
    sized = {"size": [entry["size"]] * 2} if "size" in entry else {}
    checkpoint = {"kind": "transformers", "folder": "model", **sized}
    model.save_pretrained(folder / "model")
    feeds = _sample(checkpoint, folder)
    alive(model, lambda: model(**feeds))
    model.save_pretrained(folder / "model")
    return checkpoint


def _sample(checkpoint: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """What the model takes, as the frontend says: pictures as patches and noise."""
    from generator.frontends.transformers import Transformers

    read = Transformers.model_validate(checkpoint, context={"base": folder})
    (feeds, *_) = inputs.samples(read.taken(), read.ranges())
    pictures = {name: calibration(*values.shape[1:]) for name, values in feeds.items() if values.ndim == 4}
    return {name: pictures.get(name, torch.from_numpy(values)) for name, values in feeds.items()}


def torchscript(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A module as `torch.jit.save` leaves it."""
    model = _network(entry)
    torch.jit.script(model).save(folder / "model.pt")  # type: ignore[no-untyped-call]
    if entry["variant"] == "crnn":
        taken = {"inputs": {"line": ["batch", 1, 32, "width"]}, "axes": {"width": {"min": 16, "max": 512, "multiple_of": 4}}}
    else:
        taken = {"inputs": {"tokens": {"dtype": "INT64", "shape": ["batch", "length"], "range": [0, networks.VOCABULARY]}}}
    return {"kind": "torchscript", "file": "model.pt", **taken}


def pt2(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A program as `torch.export.save` leaves it, its batch free; torch.export (2.13) fixes the length of recurrent layers."""
    model: Any = _network(entry)
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    torch.export.save(torch.export.export(model, (model.example(),), dynamic_shapes=(free,)), folder / "model.pt2")
    return {"kind": "torch_export", "file": "model.pt2", "trust_checkpoint": True}


def _network(entry: Mapping[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    model: Any = networks.NETWORKS[entry["variant"]]().eval()
    alive(model, lambda: model(model.example()))
    found: nn.Module = model
    return found
