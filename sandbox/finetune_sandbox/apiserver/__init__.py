"""A Kubernetes API server in one process: see `ApiServer`."""

from .server import ApiServer

__all__ = ["ApiServer"]
