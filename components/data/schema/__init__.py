"""What data must look like: inferred, written by people, and how it changes."""
