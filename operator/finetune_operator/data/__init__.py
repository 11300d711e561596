"""Data files of the operator.

`wandb_sweep_schema.json` is `sweeps/config/schema.json` of sweeps 0.3.0 by Weights & Biases, unchanged; its MIT licence
is beside it. The package itself is not used, as it would bring numpy into the operator.
"""
