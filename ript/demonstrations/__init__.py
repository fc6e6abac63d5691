"""Demonstrations: files, statistics, and how they are collected."""
