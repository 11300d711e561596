"""Measured against the best alternatives: `make bench`, or `python -m benchmarks NAME ...`."""
