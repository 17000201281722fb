"""PyTorch: train and export (image ``shipway/pytorch``)."""
