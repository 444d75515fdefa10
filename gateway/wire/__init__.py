"""
Wire formats: how events, replies and commands look on the socket.

One module per format. A format is a subprotocol name, an encoder of entries (`subscriber.Wire`), encoders of the
server's own frames, and a decoder of commands.
"""
