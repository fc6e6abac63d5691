"""Groups of rollouts played by workers on this machine and others; the only part that imports Ray."""
