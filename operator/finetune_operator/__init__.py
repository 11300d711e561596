"""Kubernetes operator for speech-to-text fine-tuning jobs and Weights & Biases sweeps."""
