"""
The store: every Redis key, command and Lua script of the gateway, behind typed functions.

Nothing above this layer names a key or reads a reply.
"""
