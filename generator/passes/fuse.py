"""fuse: operators that were written out become one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

Operator = Literal["HardSwish", "Mish", "Softplus", "Gelu", "LayerNormalization"]

#: The first opset of each.
_SINCE = {"HardSwish": 14, "Mish": 18, "Softplus": 1, "Gelu": 20, "LayerNormalization": 17}


class Fuse(Pass):
    """HardSwish, Mish, Softplus, Gelu, LayerNormalization, found as written-out arithmetic, become one operator each."""

    kind: Literal["fuse"] = "fuse"
    keeps_results: ClassVar[bool] = True
    operators: Annotated[
        tuple[Operator, ...],
        Field(min_length=1, description="Each must be found; left out, whatever the opset has and is there."),
    ] = get_args(Operator)

    def edit(self, model: ir.Model) -> None:
        """By onnxscript's patterns, which try both orders of factors and summands."""
        said = "operators" in self.model_fields_set
        opset = model.graph.opset_imports.get("", 1)
        for name in _ordered(self.operators):
            if opset < _SINCE[name]:
                if said:
                    raise SurgeryError(
                        f"fuse: {name} is in ONNX from opset {_SINCE[name]}, the graph has {opset}",
                        "export with a later `opset:`",
                    )
                continue
            count = _apply(model, name)
            if said and self.required and not count:
                raise SurgeryError(
                    f"fuse: no {name} is written out in the graph; it has {editing.there(model.graph.all_nodes())}",
                    "leave it out of operators; other ways to write it are left alone",
                )


def _ordered(operators: tuple[Operator, ...]) -> list[Operator]:
    """Softplus before Mish, which contains one."""
    return sorted(operators, key=lambda name: name != "Softplus")


def _apply(model: ir.Model, name: str) -> int:
    from onnxscript.rewriter import RewriteRuleSet

    return RewriteRuleSet(_rules(name), commute=True).apply_to_model(model)


def _rules(name: str) -> list[Any]:
    from onnxscript.rewriter import pattern

    if name == "LayerNormalization":
        from onnxscript.rewriter.rules.fusion import _layer_norm  # the only place where onnxscript has it

        return list(_layer_norm.layer_normalization_rules)

    def one(op: Any, x: Any) -> Any:
        return getattr(op, name)(x)

    return [pattern.RewriteRule(written, one) for written in _WRITTEN[name]]


def _mish(op: Any, x: Any) -> Any:
    return x * op.Tanh(op.Softplus(x))


def _softplus(op: Any, x: Any) -> Any:
    return op.Log(op.Exp(x) + 1.0)


def _hard_sigmoid(op: Any, x: Any) -> Any:
    return x * op.HardSigmoid(x, alpha=1 / 6, beta=0.5)


def _clip_then_divide(op: Any, x: Any) -> Any:
    return x * (op.Clip(x + 3.0, 0.0, 6.0) / 6.0)


def _multiply_then_divide(op: Any, x: Any) -> Any:
    return (x * op.Clip(x + 3.0, 0.0, 6.0)) / 6.0


def _gelu_last(op: Any, x: Any) -> Any:
    return (x * (op.Erf(x / 2**0.5) + 1.0)) * 0.5


def _gelu_first(op: Any, x: Any) -> Any:
    return (x * 0.5) * (op.Erf(x / 2**0.5) + 1.0)


def _gelu_factor(op: Any, x: Any) -> Any:
    return (x * 0.5) * (op.Erf(x * 0.5**0.5) + 1.0)


#: As exporters write them.
_WRITTEN = {
    "Mish": (_mish,),
    "Softplus": (_softplus,),
    "HardSwish": (_hard_sigmoid, _clip_then_divide, _multiply_then_divide),
    "Gelu": (_gelu_last, _gelu_first, _gelu_factor),
}
