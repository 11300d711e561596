"""What can go wrong at the edges. The class tells what to do about it.

EdgeError                a request failed; try again later
ClusterError           the Kubernetes API said no, or nothing
ConflictError        409: somebody else was faster; read again
NotFoundError        404
ForbiddenError       403: the operator's Role lacks a right
ExpiredError         410: a watch cannot go on from where it was
TrackerError           the tracker said no, or nothing
UnauthorizedError    401 or 403: the API key is wrong
ThrottledError       429: wait
NameTakenError         a child's name belongs to an object that is not ours
"""

from __future__ import annotations


class EdgeError(Exception):
    """A request to the outside failed."""


class ClusterError(EdgeError):
    """The Kubernetes API refused a request, or could not be reached (code 0)."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"Kubernetes API: {code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class NotFoundError(ClusterError):
    """404."""


class ForbiddenError(ClusterError):
    """403: the operator's Role lacks a right; the message names it."""


class ExpiredError(ClusterError):
    """410: what a watch asks to go on from is no longer kept."""


class ConflictError(ClusterError):
    """409: stale resourceVersion, or the object exists already (reason AlreadyExists)."""


class NameTakenError(EdgeError):
    """An object of this name exists and belongs to something else."""


class TrackerError(EdgeError):
    """The tracker answered an error, or could not be reached."""


class UnauthorizedError(TrackerError):
    """The tracker does not accept the API key."""


class ThrottledError(TrackerError):
    """The tracker asks for a pause."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
