"""What the tests of engines share."""

from importlib.util import find_spec

import numpy as np

FILES = {"onnxruntime": "model.onnx", "torch": "model.pt2", "torchscript": "model.ts.pt", "tensorflow": "saved_model"}
"""What each engine needs of a Model."""
NATIVE = ("torch", "torchscript") if find_spec("torch") else ("tensorflow",) if find_spec("tensorflow") else ()
"""The engines besides ONNX Runtime whose library this environment has."""


def rows(description, count, seed=0):
    """Random raw tensors, with missing and unseen values."""
    random = np.random.default_rng(seed)
    tensors = {}
    for tensor in description.inputs:
        if tensor.datatype == "BYTES":
            tensors[tensor.name] = random.choice(np.array(["red", "blue", "", "Färbe", "AA"], object), count)
        else:
            values = random.normal(20, 30, count).astype(np.float32)
            tensors[tensor.name] = np.where(random.random(count) < 0.2, np.nan, values).astype(np.float32)
    return tensors
