"""The page to look at: projects, sweeps, runs, artifacts and the model registry, in any browser, with no other server.

Plain ES modules in `static/`, no build step. `ROUTES` and `STATIC` are what the application mounts.
"""

from finetune_tracker.web.routes import ROUTES, STATIC

__all__ = ["ROUTES", "STATIC"]
