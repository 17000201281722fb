"""Models made smaller: pruning and quantization, measured before and after, refused where they cost too much.

Nothing is imported here: :mod:`.measurement` and what uses it need ONNX Runtime and onnx.
"""
