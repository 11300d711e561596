"""The control plane: what the operator adds to a trial, against a minimal loop and against an idle operator."""
