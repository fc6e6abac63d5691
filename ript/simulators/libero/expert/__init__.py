"""A scripted expert: solves LIBERO tasks by looking at the simulator's own state."""
