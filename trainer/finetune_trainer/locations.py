"""Where data lies: local paths and URIs, as fsspec filesystems."""

from __future__ import annotations

import functools
import os
from typing import Any
from urllib.parse import urlsplit

from .errors import BadConfigError

_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60


def filesystem_of(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of a location and the location's path in it.

    `s3://` and `gs://` go through Arrow's own clients, which need no further package and know the usual credentials:
    environment variables, profiles, the identity of the pod's service account. `AWS_ENDPOINT_URL` names another server
    that speaks S3.

    Raises:
        BadConfigError: Nothing here can read such a location.
    """
    import fsspec

    protocol, _, rest = location.partition("://")
    if rest and protocol in _STORES:
        bucket = rest.partition("/")[0]
        return _STORES[protocol](bucket), rest
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise BadConfigError(f"{location} needs another fsspec package in the image: {error}.") from error
    return filesystem, str(path)


@functools.cache
def _s3(bucket: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and not endpoint.netloc:
        try:
            region = fs.resolve_s3_region(bucket)
        except OSError:  # no such bucket, or no network: reading will say so
            region = None
    return ArrowFSWrapper(
        fs.S3FileSystem(
            region=region,
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or None,
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
        )
    )


@functools.cache
def _gcs(bucket: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    return ArrowFSWrapper(fs.GcsFileSystem())


_STORES = {"s3": _s3, "gs": _gcs}
