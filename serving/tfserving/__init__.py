"""A model in the layout that TensorFlow Serving reads."""
