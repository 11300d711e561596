"""Finds what is wrong: facts are gathered from the cluster and the tracker, pure checks judge them."""
