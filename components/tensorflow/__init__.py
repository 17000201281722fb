"""TensorFlow: train and export (image ``shipway/tensorflow``)."""
