"""Data files of the operator."""
