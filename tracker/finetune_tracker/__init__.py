"""A W&B-compatible server for closed networks, laptops and tests."""
