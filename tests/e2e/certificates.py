"""Identities of a cluster: an authority, and certificates and kubeconfigs that it issues."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Pair(NamedTuple):
    """Files in PEM. public: a certificate, or a bare key."""

    public: Path
    key: Path


class Authority:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self._folder = folder
        self._key = _new_key()
        self._name = _name("supreme-tests")
        extensions = [
            x509.BasicConstraints(ca=True, path_length=0),
            x509.KeyUsage(key_cert_sign=True, **_OTHER_USES),
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()),
        ]
        signed = self._signed(self._name, self._key, extensions)
        self.certificate = self._written("authority", signed, self._key).public

    def issue(self, name: str, *, group: str | None = None, hosts: Sequence[str] = ()) -> Pair:
        """Issue a certificate to the user `name` of `group`, who is also a server where others call
        it by `hosts`."""
        key = _new_key()
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        extensions: list[x509.ExtensionType] = [
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            x509.ExtendedKeyUsage(uses),
        ]
        if hosts:
            extensions.append(x509.SubjectAlternativeName([_host(host) for host in hosts]))
        return self._written(name, self._signed(_name(name, group), key, extensions), key)

    def keys(self, name: str) -> Pair:
        """A key and its public half, which nobody signed."""
        key = _new_key()
        form = PublicFormat.SubjectPublicKeyInfo
        return self._written(name, key.public_key().public_bytes(Encoding.PEM, form), key)

    def kubeconfig(self, server: str, name: str, *, group: str | None = None) -> Path:
        """Write the kubeconfig of the user `name` for the API server at that URL."""
        pair = self.issue(name, group=group)
        user = {"client-certificate": str(pair.public), "client-key": str(pair.key)}
        cluster = {"server": server, "certificate-authority": str(self.certificate)}
        context = {"cluster": "tests", "user": name}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        }
        path = pair.key.with_suffix(".kubeconfig")
        path.write_text(json.dumps(document))
        return path

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: Sequence[x509.ExtensionType],
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + timedelta(days=2),
        )
        for extension in extensions:
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def _written(self, name: str, public: bytes, key: ec.EllipticCurvePrivateKey) -> Pair:
        stem = name.replace(":", "-")
        pair = Pair(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        pair.public.write_bytes(public)
        pair.key.touch(mode=0o600)
        form = PrivateFormat.TraditionalOpenSSL
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
        return pair


_OTHER_USES = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(name: str, group: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
