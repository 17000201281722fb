"""The image that the PyTorch family's steps run in."""

__all__ = ["IMAGE"]

IMAGE = "shipway/pytorch:0.1.0"
