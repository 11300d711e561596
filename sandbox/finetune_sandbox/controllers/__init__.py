"""Controllers: clients of an API server that turn desired state into other objects."""
