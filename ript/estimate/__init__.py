"""How much GPU memory a model needs, told without its weights."""
