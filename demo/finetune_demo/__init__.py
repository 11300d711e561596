"""The CPU-sized speech task and the story that `make demo` tells."""
