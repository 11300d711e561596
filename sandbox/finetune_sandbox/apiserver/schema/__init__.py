"""Schemas: compiled, pruned by, defaulted from, validated against."""
