from importlib.util import find_spec

# The command line's and the data family's environments have no need of these packages.
NEEDS = {"test_encoders.py": "pyarrow", "test_onnx_graph.py": "onnxruntime", "test_vectors.py": "pyarrow"}
collect_ignore = [name for name, package in NEEDS.items() if find_spec(package) is None]
