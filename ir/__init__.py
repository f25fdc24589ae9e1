"""The graph IR: types, functions, ops with their rules, transforms, passes, loop IR."""
