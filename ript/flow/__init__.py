"""The mathematics of flow matching: the path and the samplers. No network in here."""
