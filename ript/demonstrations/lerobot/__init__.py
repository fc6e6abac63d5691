"""Datasets in LeRobot's format, read and written without the `lerobot` package."""
