"""`PutOnPlateInScene25Main-v3`, with RLinf's own environment and assets from the user's checkout of it."""
