"""`finetune-operator run`: kopf with our handlers."""

from __future__ import annotations

import kopf

from finetune_operator import handlers, logs
from finetune_operator.settings import from_arguments, parser


def main(argv: list[str] | None = None) -> int:
    """Runs the operator until it is told to stop."""
    settings = from_arguments(parser().parse_args(argv))
    logs.configure(settings.log_level)
    registry = kopf.OperatorRegistry()
    handlers.register(registry, settings)
    liveness = f"http://{settings.host}:{settings.liveness_port}/healthz" if settings.liveness_port else None
    kopf.run(
        registry=registry,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        liveness_endpoint=liveness,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
