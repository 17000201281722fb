"""Does data look as it must? Checks, the gate and the report."""
