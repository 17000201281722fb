"""The image that the data family's steps run in."""

__all__ = ["IMAGE"]

IMAGE = "shipway/data:0.1.0"
