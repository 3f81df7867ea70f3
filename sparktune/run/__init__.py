"""How trials run: the objective and its space, executors, the loop, stopping, progress."""
