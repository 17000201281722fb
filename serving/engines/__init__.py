"""What scores: one module per kind of file that a Model holds."""
