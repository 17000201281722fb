"""The image that the lifecycle family's steps run in."""

__all__ = ["IMAGE"]

IMAGE = "shipway/lifecycle:0.1.0"
