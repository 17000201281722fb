"""Transfers side by side with the stores' own clients."""
