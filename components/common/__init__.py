"""What every family shares and that belongs to none: errors, artifact formats, preprocessing, charts."""

import os

# ONNX Runtime sends usage data to its makers unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
