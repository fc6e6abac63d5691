"""A policy server that speaks openpi's websocket protocol."""
