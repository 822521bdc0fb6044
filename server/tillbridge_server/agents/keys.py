"""The server's keys on disk: root key, online key, the root-signed statement, and its own TLS authority.

The root key signs the statement that names the online key; its fingerprint is in every enrollment code.
After `init` it is needed only to sign a new statement, so it can be moved to an offline medium. Key files
are readable by their owner only; others refuse the start.
"""

import datetime as dt
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tillbridge_protocol.enrollment import Hello, KeyStatement, sign_statement
from tillbridge_server.errors import ConfigError

ONLINE_KEY_LIFE = dt.timedelta(days=180)
STATEMENT_FILE = "statement.json"
ROOT_FILE = "root.key"


@dataclass(frozen=True)
class ServerKeys:
    """What a running server signs with, and what it shows to agents."""

    key_id: str
    key: Ed25519PrivateKey
    root: bytes
    hello: Hello


def make_keys(folder: Path, now: dt.datetime, tls_ca: str = "") -> None:
    """Make root key, first online key and statement in `folder`; never overwrites."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root, online = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    write_secret(folder / ROOT_FILE, _pem(root))
    write_secret(folder / "online-1.key", _pem(online))
    statement = KeyStatement(
        root=root.public_key().public_bytes_raw().hex(), key_id="s/1", key=online.public_key().public_bytes_raw().hex(),
        not_before=now, not_after=now + ONLINE_KEY_LIFE, tls_ca=tls_ca,
    )
    (folder / STATEMENT_FILE).write_bytes(msgspec.json.encode(sign_statement(statement, root)))


def load_keys(folder: Path) -> ServerKeys:
    """Read the online key and the statement. Raises ConfigError when missing, open to others, or not matching."""
    path = folder / STATEMENT_FILE
    try:
        hello = msgspec.json.decode(path.read_bytes(), type=Hello)
        statement = msgspec.json.decode(hello.statement, type=KeyStatement)
        number = statement.key_id.rpartition("/")[2]
        key = _load(folder / f"online-{number}.key")
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement.root)).verify(
            bytes.fromhex(hello.signature), hello.statement.encode()
        )
    except FileNotFoundError as error:
        hint = "Restore it from your backup, or run `init`."
        raise ConfigError(str(error.filename), "keys", "is missing.", hint) from error
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(str(path), "keys", "cannot be used.", "Restore the keys folder from your backup.") from error
    if key.public_key().public_bytes_raw().hex() != statement.key:
        hint = "Restore both together."
        raise ConfigError(str(path), "keys", "names another online key than the one beside it.", hint)
    return ServerKeys(statement.key_id, key, bytes.fromhex(statement.root), hello)


def write_secret(path: Path, content: bytes) -> None:
    """Create a file only its owner can read; fails if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _load(path: Path) -> Ed25519PrivateKey:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(str(path), "keys", "can be read by others.", f"Run `chmod 600 {path}`.")
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
