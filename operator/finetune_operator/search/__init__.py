"""Decisions of a search, as pure functions: where to look next, when to stop, who is better, what it costs."""
