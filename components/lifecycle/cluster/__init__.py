"""Training on several nodes: Kubeflow Trainer's TrainJobs, Katib's Experiments, and the same on this machine."""
