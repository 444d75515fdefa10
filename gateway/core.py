"""
The core: the Sans-I/O protocol of `websockets`, with what our sockets add to it.

Nearly every command comes as one text frame that is there as a whole. Such frames are read here, in one look each;
the generators of the core, which can wait for more at any byte, cost more than all else that is done to a small
command. Whatever is anything else, from its first byte on, is the core's.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.typing import Subprotocol

from gateway.handshake import select_subprotocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # where its extension in C was not built
    from websockets.utils import apply_mask

_FIN_TEXT = 0x81  # RFC 6455, section 5.2; none of the reserved bits: not compressed
_MASKED = 0x80
_LENGTH_16 = 126
_MASK_BYTES = 4
_ABNORMAL = 1006


class Core(ServerProtocol):
    """One connection's protocol: bytes in; messages, requests and bytes out."""

    def __init__(self, *, max_size: int, **options: Any) -> None:
        self._longest = max_size
        self._in_pieces = False  # the beginning of a message has come, and not its end
        super().__init__(max_size=max_size, **options)

    def parse(self) -> Generator[None]:
        """See `Protocol`, which calls this once, before anything is read."""
        self.reader: _Reader = _Reader()
        yield from super().parse()

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """See `ServerProtocol`. A function given to its constructor would be bound to it: a cycle."""
        selected = select_subprotocol(subprotocols)
        return Subprotocol(selected) if selected is not None else None

    def take_texts(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the messages with which `data` begins, as far as they are whole text frames, and what is left."""
        texts: list[bytes] = []
        if not self.reader.between_frames or self._in_pieces or self.state is not State.OPEN:
            return texts, data
        begin, size = 0, len(data)
        while size - begin > 2 + _MASK_BYTES and data[begin] == _FIN_TEXT:
            length = data[begin + 1] - _MASKED
            mask_at = begin + 2
            if length == _LENGTH_16:
                length = int.from_bytes(data[mask_at : mask_at + 2])
                mask_at += 2
            elif not 0 <= length < _LENGTH_16:
                break
            payload_at = mask_at + _MASK_BYTES
            end = payload_at + length
            if end > size or length > self._longest:
                break
            texts.append(apply_mask(data[payload_at:end], data[mask_at:payload_at]))
            begin = end
        return texts, data[begin:]

    def recv_frame(self, frame: Frame) -> None:
        """See `Protocol`."""
        super().recv_frame(frame)
        if frame.opcode in DATA_OPCODES:
            self._in_pieces = not frame.fin

    @property
    def ended_with(self) -> int:
        """How the connection ended: the close code that was received, or else sent."""
        sent, received = self.close_sent, self.close_rcvd
        if sent is not None and not (received is not None and self.close_rcvd_then_sent):
            return sent.code
        return received.code if received is not None else _ABNORMAL

    def release(self) -> None:
        """Let go of the parser, which holds it, and of tracebacks, which do as well: nothing is read any more."""
        self.parser.close()
        for error in (self.parser_exc, self.handshake_exc):
            if error is not None:
                error.__traceback__ = None
        self.parser_exc = self.handshake_exc = None


class _Reader(StreamReader):
    """
    The core's buffer. It is asked whether there is anything more when a frame ended, and at no other time.

    Attributes:
        between_frames: The last frame was read to its end, and nothing of the next one is there.
    """

    between_frames = False

    def at_eof(self) -> Generator[None, None, bool]:
        """See `StreamReader`."""
        self.between_frames = True
        ended = yield from super().at_eof()
        self.between_frames = False
        return ended
