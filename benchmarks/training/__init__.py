"""How fast training is beside tensors in memory and beside the usual loaders, what it needs, and what a kill costs."""
