"""Modules -> TorchScript archives: how they are captured, what is inside, what is refused. No server."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_modules import Branch, Chosen, Frozen, Gated, Nested, Plain, Python, Several
from torch import Tensor, nn

from generator import torchscript, torchscript_signature
from generator.backends import Order
from generator.errors import ExportError
from generator.flatten import Flat
from generator.frontends.torchscript import TorchScript
from generator.picture import Normalisation
from generator.served_module import Served, normalised
from generator.tensors import Tensor as Named
from generator.torch_frontend import TorchFrontend


class Given(TorchFrontend):
    """A checkpoint that is a module in memory."""

    kind: str = "given"

    def module(self) -> nn.Module:
        module: nn.Module = MODULES[self.kind]()
        return module


MODULES: dict[str, Any] = {}


def made(
    tmp_path: Path, module: Any, inputs: dict[str, Any], outputs: tuple[str, ...] = ("output",), **settings: Any
) -> tuple[Any, dict[str, str]]:
    """The archive of a module, loaded, and the facts."""
    MODULES["given"] = module
    checkpoint = Given.model_validate({"inputs": inputs, **settings.pop("checkpoint", {})})
    picture = settings.pop("picture", None)
    taken = tuple(one.tensor(name) for name, one in checkpoint.inputs.items())
    pixels = (Named("pixels", "UINT8", (8, 10, 3)),)
    order = Order(
        tmp_path / "model.onnx", pixels if picture else taken, tuple(Named(name, "FP32", (-1,)) for name in outputs),
        settings.pop("max_batch_size", 5), (), checkpoint, "fp32", tmp_path, picture,
    )  # fmt: skip
    path = tmp_path / "model.pt"
    facts = torchscript.make(order, settings.pop("capture", "auto"), settings.pop("freeze", True), path)
    return torch.jit.load(str(path)), facts  # type: ignore[no-untyped-call]


IMAGE = {"image": ["batch", 3, 8, 10]}
X = {"x": ["batch", 4]}


def test_scripting_keeps_both_branches(tmp_path: Path) -> None:
    loaded, facts = made(tmp_path, Branch, X)
    assert facts["capture"] == "script"
    for x in (torch.full((3, 4), 2.0), torch.full((1, 4), -2.0)):
        assert torch.equal(loaded(x)[0], Branch()(x))
    assert "batch 2; batch 1; batch 3; batch 5; largest difference" in facts["held against the module"]
    assert f"{torch.__version__}, file format " in facts["torch"]


def test_of_a_module_that_does_not_script_the_deciding_part_is_scripted(tmp_path: Path) -> None:
    loaded, facts = made(tmp_path, Gated, X)
    assert facts["capture"] == "script of branch, the rest traced"
    for value in (2.0, -2.0):
        assert torch.equal(loaded(torch.full((3, 4), value))[0], Gated()(torch.full((3, 4), value)))


def test_what_does_not_script_is_traced_and_says_why(tmp_path: Path) -> None:
    loaded, facts = made(tmp_path, Nested, X, ("answer_boxes_corners", "answer_levels_1_p"), checkpoint={
        "outputs": ("answer_boxes_corners", "answer_levels_1_p"),
    })  # fmt: skip
    assert facts["capture"].startswith("trace (refused before: script: ")
    x = torch.rand(2, 4)
    assert [tuple(t.shape) for t in loaded(x)] == [(2, 4), (2, 4)]
    assert torch.equal(loaded(x)[1], x * 1.5 + 2)


def test_a_trace_would_freeze_a_branch(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"export_modules\.py:\d+.*trace: left out, it would freeze what depends on values"
    ) as caught:
        made(tmp_path, Python, X)
    assert "docs/torchscript.md" in caught.value.remedy
    _, facts = made(tmp_path, Branch, X, capture="trace", checkpoint={"inputs": {"x": {"shape": ["batch", 4], "range": [1, 2]}}})
    assert "export_modules.py" in facts["frozen as for the example"]


def test_what_neither_scripts_nor_traces(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch makes no TorchScript of this module; script: .+; trace: .+") as caught:
        made(tmp_path, Chosen, X)
    assert "`target: onnxruntime`" in caught.value.remedy


def test_a_frozen_axis_is_found(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"trace: made with batch 2, height 64, with batch 1, height 96 it gives output wrong"):
        made(tmp_path, Frozen, {"image": ["batch", 3, "height", 8]}, capture="trace")


def test_scalars_travel_as_tensors_of_one_element(tmp_path: Path) -> None:
    inputs = {
        "ids": {"dtype": "INT64", "shape": ["batch", 4], "range": [0, 9]},
        "mask": {"dtype": "BOOL", "shape": ["batch", 4]},
        "flag": {"dtype": "BOOL", "shape": []},
        "weight": {"shape": []},
    }
    loaded, _ = made(tmp_path, Several, inputs, ("output_0", "output_1"))
    ids, mask = torch.arange(8).reshape(2, 4), torch.ones(2, 4, dtype=torch.bool)
    for flag in (True, False):
        found = loaded(ids, mask, torch.tensor([flag]), torch.tensor([2.0]))
        assert torch.equal(found[0], Several()(ids, mask, torch.tensor(flag), torch.tensor(2.0))[0])


class Mean(nn.Module):
    """One number for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).mean()


def test_a_scalar_result_has_one_dimension(tmp_path: Path) -> None:
    loaded, _ = made(tmp_path, Mean, X)
    assert loaded(torch.ones(2, 4))[0].tolist() == [1.0]


@pytest.mark.parametrize("dtype", ["FP32", "FP16", "UINT8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pixels_are_normalised_as_in_numpy(layout: Any, dtype: str) -> None:
    picture = Normalisation(layout, dtype, 1 / 255, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3), np.uint8)
    served = Served(Flat(nn.Identity(), ["image"], ["output"]), picture, (False,))
    wanted = normalised(pixels, picture)
    (found,) = served(torch.from_numpy(pixels))
    assert found.numpy().dtype == wanted.dtype
    assert found.shape == ((2, 3, 8, 10) if layout == "NCHW" else (2, 8, 10, 3))
    np.testing.assert_allclose(found.numpy().astype(np.float32), wanted.astype(np.float32), rtol=1e-3, atol=1e-6)
    if dtype == "FP32":  # by hand: green of the first pixel
        green = found[0, 1, 0, 0] if layout == "NCHW" else found[0, 0, 0, 1]
        assert float(green) == pytest.approx((pixels[0, 0, 0, 1] / 255 - 0.2) / 0.6, abs=1e-5)


def test_a_picture_goes_in_as_pixels(tmp_path: Path) -> None:
    picture = Normalisation("NCHW", "FP32", 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    loaded, facts = made(tmp_path, Plain, IMAGE, picture=picture)
    assert facts["held against the module"].startswith("batch 2; batch 1; batch 3; batch 5")
    pixels = torch.randint(0, 256, (2, 8, 10, 3), dtype=torch.uint8)
    wanted = Plain()(pixels.permute(0, 3, 1, 2) / 255)
    assert torch.allclose(loaded(pixels)[0], wanted, atol=1e-6)


def test_a_wrong_formula_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Normalisation("NCHW", "FP32", 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    monkeypatch.setattr(Served, "_normalised", lambda self, pixels, picture: pixels.permute(0, 3, 1, 2) / 254.0)
    with pytest.raises(ExportError, match=r"script: made with batch 2, with batch 2 it gives output wrong by 0\.00"):
        made(tmp_path, Plain, IMAGE, picture=picture)


class Normed(nn.Module):
    """A convolution and a batch normalisation with statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_mean = torch.randn(4)

    def forward(self, image: Tensor) -> Tensor:
        folded: Tensor = self.norm(self.conv(image))
        return folded


def kinds(module: Any) -> set[str]:
    graph = module.inlined_graph
    return {node.kind() for node in graph.nodes()}


def test_freezing_folds_batch_normalisation(tmp_path: Path) -> None:
    frozen, facts = made(tmp_path, lambda: Normed().eval(), IMAGE)
    assert "aten::batch_norm" not in kinds(frozen)
    assert facts["torch"].endswith(", frozen")
    whole, facts = made(tmp_path, lambda: Normed().eval(), IMAGE, freeze=False)
    assert "aten::batch_norm" in kinds(whole)
    assert "frozen" not in facts["torch"]
    image = torch.rand(2, 3, 8, 10)
    assert torch.allclose(frozen(image)[0], whole(image)[0], atol=1e-5)


def test_nothing_of_this_machine_is_in_the_archive(tmp_path: Path) -> None:
    made(tmp_path, Branch, X)
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        names = archive.namelist()
        assert not [name for name in names if name.endswith(".debug_pkl")]
        here = [str(Path(__file__).parent).encode(), b"export_modules.py"]
        assert not [name for name in names if any(text in archive.read(name) for text in here)]
    assert len(torchscript_signature.read(tmp_path / "model.pt")[0]) == 1


class Fixed(nn.Module):
    """Makes a tensor on the CPU, wherever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + torch.arange(x.shape[0], device="cpu").to(x.dtype)[:, None]


def test_operators_that_fix_their_device_are_said(tmp_path: Path) -> None:
    assert "for the CPU only, as these fix their device: aten::arange" in made(tmp_path, Fixed, X)[1]["torch"]
    assert "CPU only" not in made(tmp_path, Branch, X)[1]["torch"]


@torch.library.custom_op("torchscript_tests::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    """An operator that this process alone knows."""
    return x * 2


class Custom(nn.Module):
    """Calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = doubled(x * self.weight)
        return result


def test_operators_that_the_server_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="calls torchscript_tests::doubled, which libtorch in the server does not have"):
        made(tmp_path, Custom, X)


def test_an_input_that_the_graph_does_not_use(tmp_path: Path) -> None:
    MODULES["given"] = Branch
    checkpoint = Given.model_validate({"inputs": {"x": ["batch", 4]}})
    order = Order(tmp_path / "m.onnx", (), (Named("output", "FP32", (4,)),), 4, (), checkpoint, "fp32", tmp_path)
    with pytest.raises(ExportError, match="the module takes x, of which its ONNX graph uses"):
        torchscript.make(order, "auto", True, tmp_path / "model.pt")


def test_a_torchscript_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "branch.pt"
    torch.jit.save(torch.jit.script(Branch()), file)
    checkpoint = TorchScript(file=file, inputs=X)
    order = Order(
        tmp_path / "m.onnx", tuple(one.tensor(name) for name, one in checkpoint.inputs.items()), (Named("output", "FP32", (4,)),),
        4, (), checkpoint, "fp32", tmp_path,
    )  # fmt: skip
    assert torchscript.make(order, "auto", True, tmp_path / "model.pt")["capture"] == "script"
    loaded: Any = torch.jit.load(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]
    for value in (2.0, -2.0):
        assert torch.equal(loaded(torch.full((2, 4), value))[0], Branch()(torch.full((2, 4), value)))
