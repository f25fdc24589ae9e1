"""The ops, a file a family; `table.ALL_OPS` lists them."""
