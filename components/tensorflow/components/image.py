"""The image that the TensorFlow family's steps run in."""

__all__ = ["IMAGE"]

IMAGE = "shipway/tensorflow:0.1.0"
