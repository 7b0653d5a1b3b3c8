"""The certificates that are served: those of the registry as they were at the last (re)load, by server name.

As crates/common/src/config/server/tls.rs has it, and seen in 0.16.19: a file is read again at a reload only; a reload
that meets a broken file is refused, and nothing but the self-signed certificate is left; an expired certificate is not
served, and its row goes unless it is the default one.
"""

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .schema import resolve_secret
from .store import Row, Tables

PEM = serialization.Encoding.PEM
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Broken(Exception):
    """A certificate that cannot be used."""


class Keyring:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.contexts: dict[str, Any] = {}
        self._self_signed = _context(self.self_signed_file())

    def self_signed_file(self) -> Path:
        file = self.folder / "localhost.pem"
        if not file.exists():
            file.write_bytes(_self_signed())
        return file

    def listening(self) -> ssl.SSLContext:
        """What a port starts a handshake with; the certificate is chosen when the client has said a name."""
        context = _context(self.self_signed_file())
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        wanted = [name or "*", (name or "").partition(".")[2], "*"]
        known = next((self.contexts[key] for key in wanted if key in self.contexts), None)
        connection.context = known or next(iter(self.contexts.values()), self._self_signed)

    def load(self, tables: Tables) -> list[tuple[str, str]]:
        """Problems by row; metadata of rows is brought up to date, rows of expired certificates go."""
        default = tables.get("x:SystemSettings", {}).get("singleton", {}).get("defaultCertificateId")
        problems: list[tuple[str, str]] = []
        self.contexts = {}
        for key, row in [*tables.get("x:Certificate", {}).items()]:
            try:
                names = self._load(key, row, default == key)
            except Broken as error:
                problems.append((key, str(error)))
                continue
            if names is None and default != key:
                print(f"tls.expired-certificate-removed {key}", flush=True)
                del tables["x:Certificate"][key]
        if problems:
            self.contexts = {}
        return problems

    def _load(self, key: str, row: Row, default: bool) -> list[str] | None:
        """The names that it is served for; None: it is expired."""
        leaf, text = self.read(row)
        if leaf.not_valid_after_utc <= datetime.now(UTC):
            return None
        row.update(described(leaf))
        names = [name.removeprefix("*.") for name in row["subjectAlternativeNames"]] + (["*"] if default else [])
        self.contexts |= dict.fromkeys(names, self.served(key, row, text))
        return names

    def served(self, key: str, row: Row, text: str) -> Any:
        file = self.folder / f"{key}.pem"
        file.write_text(f"{text}\n{resolve_secret(row['privateKey'], os.environ)}\n")
        try:
            return _context(file)
        except ssl.SSLError as error:
            raise Broken(f"Invalid certificate: {error}") from error

    def read(self, row: Row) -> tuple[x509.Certificate, str]:
        """The first PEM block must be the certificate; the private key is not looked at."""
        source = row["certificate"]
        try:
            text = self.content(source["filePath"]) if source["@type"] == "File" else str(source.get("value", ""))
        except OSError as error:
            raise Broken(f"Failed to read secret from file '{source['filePath']}': {error.strerror}") from error
        if not text.lstrip().startswith("-----BEGIN CERTIFICATE-----"):
            raise Broken("Invalid certificate: No certificates found in PEM")
        try:
            return x509.load_pem_x509_certificates(text.encode())[0], text
        except ValueError as error:
            raise Broken(f"Invalid certificate: {error}") from error

    def content(self, path: str) -> str:
        return Path(path).read_text()


def described(leaf: x509.Certificate) -> Row:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    return {
        "subjectAlternativeNames": dict.fromkeys(sorted(found), True),
        "issuer": leaf.issuer.rfc4514_string(),
        "notValidBefore": leaf.not_valid_before_utc.strftime(MOMENT),
        "notValidAfter": leaf.not_valid_after_utc.strftime(MOMENT),
    }


def _context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(365)
    )
    extended = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    text = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return text + extended.sign(key, hashes.SHA256()).public_bytes(PEM)
