"""The commands of the command line: each takes the parsed options and returns an exit code."""
