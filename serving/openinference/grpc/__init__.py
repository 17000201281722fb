"""The Open Inference protocol over gRPC."""
