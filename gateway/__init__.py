"""Tidegate's gateway: a WebSocket daemon fed by Redis Streams."""
