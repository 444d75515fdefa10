"""
TLS: a certificate, and a socket that speaks TLS in front of a protocol that knows nothing of it.

Not asyncio's own `ssl=`: there the transport that our protocols see is not the one with the socket. Its buffer is a
second one that `pause_writing` does not count, and whose filling hides from SIOCOUTQ whether a slow peer reads at all.
Here ciphertext goes straight to the transport below, so that limits, pauses and stalls are those of a plain socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

from gateway.errors import ConfigError

_log = structlog.get_logger()

_READ_BYTES: Final = 64 * 1024
# What TLS 1.2 clients may choose: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    not_after: datetime


class Certificate:
    """
    A certificate chain and its key, in PEM files, which may be exchanged while they are in use.

    Args:
        setting: Their section, for errors: `listen` or `http`.

    Attributes:
        context: For the next connection. Those that are open keep what they began with.

    Raises:
        ConfigError: They cannot be used.
    """

    def __init__(self, certificate: str, key: str, *, setting: str) -> None:
        self._certificate = certificate
        self._key = key
        self._setting = setting
        self.context = self._load()

    def reload(self) -> None:
        """Read the files again. If they cannot be used, go on with what there is, and say so in one line."""
        try:
            self.context = self._load()
        except ConfigError as error:
            _log.error("tls_reload_failed", setting=error.setting, problem=str(error), goes_on="with the old one")
            return
        _log.info("tls_reloaded", setting=self._setting, not_after=self.facts().not_after.isoformat())

    def facts(self) -> CertificateFacts:
        """Return what the certificate in the file says of itself."""
        leaf = x509.load_pem_x509_certificates(Path(self._certificate).read_bytes())[0]
        try:
            stated = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = tuple(str(name.value) for name in stated)
        except x509.ExtensionNotFound:
            names = ()
        return CertificateFacts(names, leaf.not_valid_after_utc)

    def _load(self) -> ssl.SSLContext:
        for option, path in (("tls_certificate", self._certificate), ("tls_key", self._key)):
            try:
                Path(path).read_bytes()
            except OSError as error:
                raise ConfigError(f"{self._setting}.{option}", f"cannot read {path}: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            self.facts()
        except _Encrypted:
            problem = "the key is encrypted: give one without a passphrase, readable by the gateway only"
            raise ConfigError(f"{self._setting}.tls_key", problem) from None
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "not PEM"
            problem = f"not a certificate and its key in PEM form ({reason})"
            raise ConfigError(f"{self._setting}.tls_certificate", problem) from None
        return context


class _Encrypted(Exception):
    """The key needs a passphrase, which nobody is there to type."""


def _no_password() -> str:
    raise _Encrypted


class TlsSocket(asyncio.Protocol):
    """
    TLS between a transport and a protocol: a protocol to the one, a transport to the other.

    Args:
        inner: The protocol. It is connected at once, so that the time of its handshake holds for that of TLS as well.
        on_failure: Called when a handshake fails, or a record is not one.
    """

    __slots__ = ("_context", "_established", "_incoming", "_inner", "_object", "_on_failure", "_outgoing", "_raw")

    def __init__(self, inner: asyncio.Protocol, context: ssl.SSLContext, on_failure: Callable[[], None]) -> None:
        self._inner = inner
        self._context = context
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False
        self._on_failure = on_failure
        self._raw: Any = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected."""
        self._raw = transport
        self._inner.connection_made(self)  # type: ignore[arg-type] # all of a transport that our protocols use

    def data_received(self, data: bytes) -> None:
        """Records have come."""
        self._incoming.write(data)
        chunks: list[bytes] = []
        ended = False
        try:
            ended = self._read(chunks)
        except ssl.SSLError:
            self._flush()  # the alert says why
            self._on_failure()
            self._raw.close()  # not `abort`: the alert is to be sent; the handshake's time is limited anyhow
            return
        self._flush()
        if chunks:
            self._inner.data_received(b"".join(chunks))
        if ended and not self._inner.eof_received():
            self.close()

    def eof_received(self) -> bool:
        """The peer has closed its half, without saying so in TLS."""
        return bool(self._inner.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._inner.resume_writing()

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self._established or not data:
            return
        rest = memoryview(data)
        try:
            while rest:  # a record at a time, of 16 KiB at most
                rest = rest[self._object.write(rest) :]
        except ssl.SSLError:  # after close_notify, or upon a broken session: nobody would read it
            return
        self._flush()

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return bool(self._raw.can_write_eof())

    def write_eof(self) -> None:
        """Say in TLS that nothing more comes, then in TCP."""
        self._say_goodbye()
        self._raw.write_eof()

    def close(self) -> None:
        """Send what is buffered and a goodbye, then close."""
        self._say_goodbye()
        self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return bool(self._raw.is_closing())

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return bool(self._raw.is_reading())

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait in this process. None wait here."""
        return int(self._raw.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._raw.set_write_buffer_limits(high=high, low=low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        if name == "sslcontext":
            return self._context
        return self._object if name == "ssl_object" else self._raw.get_extra_info(name, default)

    # Records.

    def _read(self, chunks: list[bytes]) -> bool:
        """Decrypt what has come; tell whether the peer has said goodbye."""
        try:
            if not self._established:
                self._object.do_handshake()
                self._established = True
            while True:
                chunk = self._object.read(_READ_BYTES)
                if not chunk:
                    return True
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            return True

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """Send close_notify; the peer's own is not waited for (RFC 8446, section 6.1)."""
        if self._established:
            with contextlib.suppress(ssl.SSLError):  # wants to read the peer's, or there was data before it
                self._object.unwrap()
            self._flush()
