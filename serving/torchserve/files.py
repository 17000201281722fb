"""What an archive holds besides ``model.json``, ``golden.json`` and the code that answers."""

__all__ = ["FORMATS", "PREPROCESSING_FILE"]

FORMATS = {"pt2": "model.pt2", "torchscript": "model.ts.pt"}
"""The native exports, one of which an archive holds, and their files."""

PREPROCESSING_FILE = "preprocessing.onnx"
"""The graph that encodes what the network takes."""
