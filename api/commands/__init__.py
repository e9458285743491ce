"""What `foldline-server` does: a module for each command, with `run(arguments)` that returns the exit code."""
