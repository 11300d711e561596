"""The nodes of the graph: how stored rows look to W&B's clients."""
