"""The Common Expression Language: syntax, types, functions, cost, and the rules of schemas."""
