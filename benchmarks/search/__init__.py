"""What automated search buys, measured on a CPU-sized speech task: `python -m benchmarks.search`.

Real parts, one process: speech is synthesised and the base model taught by `finetune_demo`, every trial is a training
and an evaluation by `finetune_trainer`, hyperparameters and early stops come from W&B's own engine through
`finetune_tracker.engine`, spaces are narrowed and stages ended by the operator's own decisions. What is left out are
cluster and network, which change neither error rates nor steps. The cost of a search is counted in optimiser steps, so
a busy machine changes no figure.
"""
