"""The Open Inference server: KServe's v1 and v2 protocols around models, without a framework in the way."""
