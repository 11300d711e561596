"""Fixtures that all parts share: a cluster, a namespace, kubectl."""

import signal

pytest_plugins = ["finetune_sandbox.testing"]

# A shell starts what it puts into the background with SIGINT ignored, which every program started here would inherit:
# no test of Ctrl-C could then pass, nor W&B's stop signal end a run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
