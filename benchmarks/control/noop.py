"""A kopf operator that does nothing: it sees the same resources. `python -m benchmarks.control.noop KUBECONFIG NS`."""

import os
import sys
from typing import Any

import kopf

registry = kopf.OperatorRegistry()


@kopf.on.login(registry=registry)
def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """From the kubeconfig, without a client library."""
    return kopf.login_with_kubeconfig(settings=settings)


@kopf.on.startup(registry=registry)
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """As quiet as ours."""
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.event("finetune.dev", "v1alpha1", "sweepruns", registry=registry)
@kopf.on.event("finetune.dev", "v1alpha1", "finetunejobs", registry=registry)
async def nothing(**_: Any) -> None:
    """Sees a resource."""


if __name__ == "__main__":
    os.environ["KUBECONFIG"] = sys.argv[1]
    kopf.run(registry=registry, standalone=True, namespaces=[sys.argv[2]])
