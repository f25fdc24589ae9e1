"""The runtime: loads compiled libraries and calls them. Needs NumPy, and nothing else of gradc."""
