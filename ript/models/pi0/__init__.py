"""The π0 network and only it: no simulator, no files outside its checkpoint."""
