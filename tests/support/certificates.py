"""
Certificates for tests, signed by an authority of the tests' own.

    ca = Authority(folder)
    certificate, key = ca.issue("one")          # paths of PEM files
    ssl_context = ca.client_context()           # trusts what it has signed
"""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = (
            self._builder(self._name, self._key, days=30)
            .add_extension(constraints, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, days: float = 30, passphrase: bytes | None = None) -> tuple[str, str]:
        """Write a new certificate, whose common name is `name`, and its key; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days=days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        encryption: KeySerializationEncryption = (
            NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
        )
        paths = (self._folder / f"{name}.pem", self._folder / f"{name}.key")
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return str(paths[0]), str(paths[1])

    def client_context(self) -> ssl.SSLContext:
        """Return what a client needs to trust the certificates."""
        context = ssl.create_default_context(cafile=str(self.path))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # ours name no authority key
        return context

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=365))
            .not_valid_after(now + timedelta(days=days))
        )


def common_name(context_or_object: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Return the common name of the certificate that the peer of a TLS connection showed."""
    shown = context_or_object.getpeercert() or {}
    return next(value for part in shown["subject"] for name, value in part if name == "commonName")  # type: ignore[misc,union-attr]
