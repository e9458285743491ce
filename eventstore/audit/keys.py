"""The keys: a private one that signs, which never leaves its file or setting, and public ones that are told to all.

cryptography is imported when something is signed or checked, not before: it takes time and memory.
"""

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eventstore.audit.errors import Malformed, NoKey
from eventstore.audit.notes import Checkpoint, Note, Signature, written

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME = "foldline"
ED25519 = b"\x01"  # the algorithm's number in signed notes
SEED = 32  # bytes


class PublicKey(NamedTuple):
    """`str()` of it is what C2SP calls a verifier key: `foldline+<id>+<base64>`."""

    name: str
    id: bytes
    raw: bytes

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(ED25519 + self.raw).decode()}"

    def has_signed(self, checkpoint: Checkpoint, signature: Signature) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if (signature.name, signature.key_id) != (self.name, self.id):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature.value, checkpoint.text.encode())
        except InvalidSignature:
            return False
        return True


def public_key(raw: bytes, name: str = NAME) -> PublicKey:
    return PublicKey(name, sha256(name.encode() + b"\n" + ED25519 + raw).digest()[:4], raw)


def public_key_from(text: str) -> PublicKey:
    """Raises Malformed."""
    try:
        name, key_id, encoded = text.strip().split("+", 2)
        data = b64decode(encoded, validate=True)
        key = public_key(data[1:], name)
        if data[:1] == ED25519 and len(key.raw) == SEED and key.id.hex() == key_id:
            return key
    except ValueError:
        pass
    raise Malformed(f"{text.strip()[:100]!r} is no key: give the lines that `foldline-server audit keys` prints")


def public_keys_from(lines: Iterable[str]) -> list[PublicKey]:
    """Those in a text that `audit keys` printed: one at the start of each line. Raises Malformed."""
    return [public_key_from(line.split()[0]) for line in lines if line.strip()]


def signer_of(note: Note, keys: Iterable[PublicKey]) -> PublicKey | None:
    """The first of `keys` that has signed this checkpoint; None when none has."""
    for key in keys:
        if any(key.has_signed(note.checkpoint, signature) for signature in note.signatures):
            return key
    return None


class Signer:
    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public = public_key(private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        """The checkpoint with our signature under it."""
        value = self._private.sign(checkpoint.text.encode())
        return written(checkpoint, [Signature(self.public.name, self.public.id, value)])


def signer_from(secret: str) -> Signer:
    """From a PEM, or from base64 of the 32 bytes of an Ed25519 key. Raises NoKey."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if secret.lstrip().startswith("-----BEGIN"):
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            key = load_pem_private_key(secret.strip().encode(), None)
        else:
            key = Ed25519PrivateKey.from_private_bytes(b64decode(secret.strip(), validate=True))
    except (ValueError, TypeError) as error:
        raise NoKey(f"the audit key cannot be used: it is neither a PEM nor base64 of {SEED} bytes") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NoKey("the audit key cannot be used: it must be one of Ed25519")
    return Signer(key)


class Keyring:
    """Gives the key to sign with: the one in the setting, else the one in the file, which is made when it is missing.

    The file is looked at each time: a key that was replaced is used from then on.
    """

    def __init__(self, file: Path, setting: str = "", *, make: bool = True) -> None:
        """`setting` is a PEM, base64, or the path of a file with either. Without `make` no key is made."""
        self._file = Path(setting) if os.path.isabs(setting) else file
        self._secret = "" if os.path.isabs(setting) else setting
        self._make = make and not setting
        self._signer: Signer | None = None
        self._seen: tuple[int, int] | None = None

    @property
    def there(self) -> bool:
        return bool(self._secret) or self._file.exists()

    def __call__(self) -> Signer:
        """Raises NoKey."""
        try:
            seen = (0, 0) if self._secret else self._look()
            if self._signer is None or seen != self._seen:
                self._signer, self._seen = signer_from(self._secret or self._file.read_text()), seen
        except OSError as error:
            raise NoKey(f"the audit key {self._file} cannot be read: {error.strerror}") from error
        return self._signer

    def rotate(self) -> Signer:
        """Put a new key in the place of the file's. Raises NoKey when the key is not ours to replace."""
        if self._secret or not self._make:
            raise NoKey("the audit key comes from FOLDLINE_SERVER_AUDIT_KEY: give that another value, then restart")
        make_key(self._file, os.replace)
        return self()

    def _look(self) -> tuple[int, int]:
        if self._make and not self._file.exists():
            make_key(self._file, _publish)
        found = self._file.stat()
        return found.st_mtime_ns, found.st_ino


def make_key(file: Path, publish: Callable[[Path, Path], None]) -> None:
    """Write a new key, readable for its owner only, and `publish` it under its name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(b64encode(secrets.token_bytes(SEED)).decode() + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        publish(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)


def _publish(fresh: Path, file: Path) -> None:
    # Another process that starts at the same time may be quicker: then both use its key.
    with suppress(FileExistsError):
        os.link(fresh, file)
