"""
The HTTP API: events in, by the same log as everything else; users sent away; health and counts.

An ASGI application (FastAPI) behind a gate of our own, run by uvicorn in the gateway's loop. Knows the publisher and
the authenticator; nothing of the hub or of connections, so that it can also run where there are none (`gateway api`).
"""
