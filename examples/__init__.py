"""The demo's data and parameters."""
