"""What answers requests: the model server, local endpoints with KServe's semantics, the cluster's manifests."""
