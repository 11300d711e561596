"""Stands where the operator's image has nothing: kopf would import the Kubernetes client if it found one."""

raise ImportError("the operator's image does not have the kubernetes package")
