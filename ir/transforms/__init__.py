"""Transforms of functions: pushforward, pullback, batching."""
