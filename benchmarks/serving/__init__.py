"""Servers of one model side by side."""
