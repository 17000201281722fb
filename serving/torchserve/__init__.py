"""TorchServe: archives that it serves, and a server in front of it that is compliant, hardened and truly ready."""
