"""How fast statistics are made, beside TFDV and other libraries: ``make bench-validation``."""
