"""What to do about an operator that TensorRT refuses. One more remedy is one more row, before the general ones at the end.

Reasons are those of NVIDIA's parser and builder; `surgery` is what `surgery:` in the spec then says, tried by
benchmarks/preflight.py where a public architecture needs it (docs/tensorrt_operators.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """A row: for these operators (empty: any), where the reason matches."""

    operators: tuple[str, ...]
    #: A regular expression, looked for in what the parser or builder said.
    reason: str
    text: str
    #: Passes of ours that do it; `OPERATOR` stands for the operator.
    surgery: tuple[dict[str, Any], ...] = ()

    def passes(self, operator: str) -> list[dict[str, Any]]:
        """As `surgery:` in a spec says them."""
        return [
            {
                name: [operator if one == OPERATOR else one for one in said] if isinstance(said, list) else said
                for name, said in each.items()
            }
            for each in self.surgery
        ]


OPERATOR = "OPERATOR"


def find(operator: str, reason: str) -> Remedy:
    """The first row that fits; the last one always does."""
    return next(
        row for row in REMEDIES if (not row.operators or operator in row.operators) and re.search(row.reason, reason, re.I | re.S)
    )


_BITS = ("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
_SEQUENCES = (
    "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap",
    "SplitToSequence", "ConcatFromSequence",
)  # fmt: skip
_TEXTS = ("StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "TfIdfVectorizer", "LabelEncoder")
_INTEGER = (
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearAdd",
    "QLinearMul",
    "QLinearGlobalAveragePool",
    "QGemm",
)
_TABULAR = (
    "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "LinearClassifier", "LinearRegressor", "SVMClassifier",
    "SVMRegressor", "Scaler", "Normalizer", "Imputer", "OneHotEncoder", "ArrayFeatureExtractor", "ZipMap", "Binarizer",
    "FeatureVectorizer", "DictVectorizer", "CategoryMapper", "CastMap",
)  # fmt: skip
#: Refused by TensorRT-RTX 1.7 and defined as functions by ONNX: written out, they compile (benchmarks/preflight.py).
_FUNCTIONS = (
    "AffineGrid", "Attention", "CenterCropPad", "LayerNormalization", "NegativeLogLikelihoodLoss", "SwiGLU",
)  # fmt: skip
_OPTIONAL = ("Optional", "OptionalGetElement", "OptionalHasElement")

REMEDIES: tuple[Remedy, ...] = (
    Remedy(("GridSample",), "", "pass `decompose_grid_sample` writes it in gathers and sums"),
    Remedy(
        ("NonZero", "Unique", "Compress"), "",
        "the number of its results depends on the data: a mask (Where) or the best K (TopK) in its place keeps shapes fixed;"
        " of detections, `nms: {kind: onnx, fixed_shapes: true}` does",
    ),
    Remedy(
        ("NonMaxSuppression",), "",
        "`nms: {kind: onnx, fixed_shapes: true}`, or `nms: {kind: efficient_nms_trt}` for TensorRT's own plugin",
    ),
    Remedy(
        ("EfficientNMS_ONNX_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT"), "plugin not found",
        "TensorRT has dropped or will drop this plugin: `nms: {kind: efficient_nms_trt}`, or kind onnx",
    ),
    Remedy(
        ("TopK",), "exceeds the maximum", "K is 3840 at most: say less in `nms.pre_nms_top_k`, or pick in two steps",
    ),
    Remedy(
        ("Resize", "Upsample"), "isInFlight|must have type Int32",
        "its scales come from outside, which TensorRT takes for a shape, and shapes are whole numbers: fix them (pass"
        " `remove_input` with a value)",
    ),
    Remedy(
        ("Resize", "Upsample"), "transformation mode|half_pixel_symmetric|tf_crop",
        "export it with half_pixel, asymmetric or align_corners: pass `set_attribute` changes coordinate_transformation_mode",
    ),
    Remedy(("Resize",), "antialias", "export it without antialias; pass `set_attribute` sets it to 0"),
    Remedy(("Resize",), "aspect", "pass `set_attribute` with keep_aspect_ratio_policy: stretch, and sizes written out"),
    Remedy(
        ("MaxPool",), "indices|output",
        "TensorRT gives no indices of MaxPool: compute them apart (ArgMax over unfolded windows), or train without MaxUnpool",
    ),
    Remedy(_BITS, "", "write it with Mul, Div and Mod on INT64, or keep this part outside the engine"),
    Remedy(
        _SEQUENCES, "",
        "export with a fixed number of parts (Split and Concat in their place); pass `simplify` or `fold_constants` where it is"
        " known beforehand",
    ),
    Remedy(_TEXTS, "", "text never enters an engine: keep this part on onnxruntime or python, as a step of an ensemble"),
    Remedy(
        _INTEGER, "", "TensorRT takes QuantizeLinear and DequantizeLinear pairs: quantise to the QDQ form instead",
    ),
    Remedy(_OPTIONAL, "", "export without Optional: pass None branches as separate models"),
    Remedy(
        ("SoftmaxCrossEntropyLoss",), "", "pass `decompose` writes it, and NegativeLogLikelihoodLoss, in simpler operators",
        ({"kind": "decompose", "operators": [OPERATOR]}, {"kind": "decompose", "operators": ["NegativeLogLikelihoodLoss"]},
         {"kind": "fold_constants"}),
    ),
    Remedy(
        _FUNCTIONS, "", "pass `decompose` writes it in simpler operators",
        ({"kind": "decompose", "operators": [OPERATOR]}, {"kind": "fold_constants"}),
    ),
    Remedy(("DFT", "STFT"), "", "write it as a MatMul with a matrix of sines and cosines, of a fixed length"),
    Remedy(("Col2Im",), "", "torch's fold: where patches do not overlap, Reshape and Transpose do the same"),
    Remedy(("MaxUnpool",), "", "give the indices up: Resize (nearest) or ConvTranspose in its place, and train again"),
    Remedy(("MelWeightMatrix",), "", "it is a constant: pass `fold_constants`, or export the matrix as a weight"),
    Remedy(("LpPool",), "", "p is 1 or 2, with one pad on both sides: AveragePool of powers does the same"),
    Remedy(
        ("DequantizeLinear",), "type Int32",
        "a bias in INT32: leave biases in FLOAT (ONNX Runtime's quantiser: extra_options QuantizeBias: False)",
    ),
    Remedy(
        ("QuantizeLinear", "DequantizeLinear"), "UINT8|zero.point",
        "TensorRT quantises to INT8 around 0: quantise symmetrically, zero points 0 and scales as constants",
    ),
    Remedy(("Det",), "", "write the determinant of small matrices out in Mul and Sub"),
    Remedy(
        ("If",), "", "both branches must give tensors of the same type and rank: make the choice at export time"
        " (pass `set_constant` on its condition, then `fold_constants`)",
    ),
    Remedy(
        ("Loop", "Scan"), "", "carried shapes must stay the same and scan outputs have a known length: unroll the loop at export"
        " time, or fix the length",
    ),
    Remedy(
        _TABULAR, "",
        "operators of ai.onnx.ml are for CPUs: keep this model on onnxruntime",
    ),
    Remedy(
        ("BatchNormalization", "Dropout"), "outputs",
        "only its first output exists in TensorRT: passes `inference_mode` and `remove_leftovers` take the others away",
    ),
    Remedy(
        (), "UINT8", "TensorRT holds UINT8 at inputs and outputs only: compute in FLOAT or INT32 there (pass `set_attribute`:"
        " `to` of its Cast)",
    ),
    Remedy((), "isInFlight", "its shape depends on FLOAT values that come from outside: fix them (pass `remove_input`)"),
    Remedy(
        (), r"and profile \d|values for profile",
        "the graph does not run at these sizes: one is frozen in it (export it with free axes), or ranges are wrong (`ranges` of"
        " target tensorrt; dims and max_batch_size of config.pbtxt)",
    ),
    Remedy(
        (), "COMPLEX", "TensorRT has no complex numbers: export real and imaginary parts as one more axis",
    ),
    Remedy((), r"STRING", "text never enters an engine: keep this part on onnxruntime or python"),
    Remedy(
        (), r"UINT16|UINT32|UINT64|INT16|Failed to convert ONNX dat[ae] type|Unsupported ONNX data type",
        "cast to INT32, INT64 or FLOAT: pass `insert` puts a Cast there, or change the type at export",
    ),
    Remedy(
        (), "initializer|build.time constant|must be (a )?constant|constant tensor",
        "this input must be a constant: passes `fold_constants` and `set_constant` make it one",
    ),
    Remedy(
        (), "elementwise.*type|same type|types? (do|must|are)|strongly typed|incompatible types|match.*type",
        "types of its inputs differ: a Cast before it (pass `insert`), or the same precision on both sides",
    ),
    Remedy((), "opset", "pass `set_opset` to 18, or export it anew at opset 18"),
    Remedy(
        (), "data-?dependent|dynamic|shape tensor|wildcard|unknown dimension|reshape",
        "a shape that cannot be known: pass `set_shape` fixes axes of the inputs, `fold_constants` then computes the shapes",
    ),
    Remedy(
        (), "plugin not found|no importer",
        "TensorRT knows no operator of that name: name a plugin library for it (`plugin_libraries` of target tensorrt), or"
        " replace it by standard operators (passes `replace`, `decompose`)",
    ),
    Remedy((), "", "replace it by other operators (passes `replace`, `decompose`), or keep the model on onnxruntime"),
)  # fmt: skip
