"""Fixtures that all parts share: a cluster, a namespace, kubectl."""

pytest_plugins = ["finetune_sandbox.testing"]
