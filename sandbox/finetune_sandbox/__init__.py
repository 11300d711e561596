"""A Kubernetes API, controllers and a process kubelet on loopback."""
