"""One encoder specification, learned once, from which come the trainers' numbers and the exported graphs.

:mod:`.onnx_graph` is imported by name where it is needed, as it imports onnx.
"""

from shipway.components.common.preprocessing.encoders import (
    FEWEST_ROWS_OF_A_WORD,
    Encoders,
    NumericEncoder,
    Pieces,
    StringEncoder,
    VectorEncoder,
    learn_encoders,
    word_indices,
)
from shipway.components.common.preprocessing.raw import (
    FeatureKind,
    Tensors,
    column_tensor,
    feature_kind,
    feature_kinds,
    feature_tensors,
    instance_tensors,
    label_strings,
)

__all__ = [
    "FEWEST_ROWS_OF_A_WORD",
    "Encoders",
    "FeatureKind",
    "NumericEncoder",
    "Pieces",
    "StringEncoder",
    "Tensors",
    "VectorEncoder",
    "column_tensor",
    "feature_kind",
    "feature_kinds",
    "feature_tensors",
    "instance_tensors",
    "label_strings",
    "learn_encoders",
    "word_indices",
]
