"""Optimizer passes, one a file; `pipeline` lists them."""
