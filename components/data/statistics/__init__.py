"""What the columns of a Dataset look like, as TFDV describes them."""
