"""A linear graph applied to many directions at once, in compressed form."""
