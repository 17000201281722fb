"""What each kind of store takes: requests, and the errors of the tree for what comes back."""
