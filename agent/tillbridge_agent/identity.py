"""The agent's identity on disk: its key and what enrollment pinned; readable by its owner only.

Kept beside the database, not in it: a lost or restored database must not lose who we are.
"""

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tillbridge_agent import crash
from tillbridge_agent.errors import ConfigError

FILE = "identity.json"
PENDING_FILE = "enrolling.json"


class Identity(msgspec.Struct, frozen=True):
    """Who this agent is and whom it believes; keys are raw Ed25519 in hex, `tls_ca` PEM or empty."""

    agent: str
    key_id: str
    location: str
    server: str
    private_key: str
    root: str
    server_keys: dict[str, str]
    tls_ca: str

    @property
    def key(self) -> Ed25519PrivateKey:
        """The signing key."""
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.private_key))


def load(state: Path) -> Identity:
    """Read the identity. Raises ConfigError when there is none, or when others can read it."""
    path = state / FILE
    if not path.exists():
        raise ConfigError(str(path), "", "This agent is not enrolled yet.",
                          "Get a code at head office and run `tillbridge-agent enroll URL CODE`.")
    _check_mode(path)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except msgspec.MsgspecError as error:
        raise ConfigError(str(path), "", f"The identity cannot be read: {error}.",
                          "Enroll again with a new code.") from error


def save(state: Path, identity: Identity) -> None:
    """Write the identity whole or not at all.

    The key stays beside its code, so that the same code may be used again here while it is valid.
    """
    _write(state / FILE, msgspec.json.encode(identity))


def pending_key(state: Path, code: str) -> Ed25519PrivateKey:
    """The key for this code: the same one again when an earlier try lost its answer."""
    path = state / PENDING_FILE
    if path.exists():
        _check_mode(path)
        kept: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        if kept.get("code") == code:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(kept["private_key"]))
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, msgspec.json.encode({"code": code, "private_key": raw.hex()}))
    return key


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    crash.reach("identity.written")
    new.replace(path)
    crash.reach("identity.renamed")


def _check_mode(path: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(str(path), "", "Other users of this machine can read the agent's key.",
                          f"Run `chmod 600 {path}`, and enroll again if someone may have copied it.")
