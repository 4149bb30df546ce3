"""Sign texts, and check who signed them, as c2sp.org/signed-note has it: Ed25519 (pure).

A note is a text, an empty line, and a line for each signature. Signatures of keys that nobody asked about, as those of
witnesses, are left alone and kept.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.errors import EscrutinioError

ED25519 = b"\x01"
SIGNATURES = 100
"""That a note may have, at most."""
WINDOWS = "it has Windows line ends, and was not signed so: take the file as it was, or remove them (tr -d '\\r')"
_LINE = re.compile("— (?P<name>[^\\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")
_KEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_PRIVATE = "PRIVATE+KEY+"


class NoteError(EscrutinioError):
    """A note, a proof or a key is not one."""


class NotProved(NoteError):
    """Nobody who is trusted signed a note, or a proof does not hold."""

    exit_code = 1


class Stranger(NotProved):
    """Other keys than those that are trusted signed a note. `names`, `given`: these, and those."""

    def __init__(self, message: str, names: str, given: str) -> None:
        super().__init__(message)
        self.names, self.given = names, given


class Signature(NamedTuple):
    """A line under a note. `key_id`: the first four bytes of what the key hashes to."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        """Return the line."""
        return f"— {self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key, with the name of who has the private one."""

    name: str
    public: bytes
    """32 bytes, as RFC 8032 has them."""

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read `NAME+ID+KEY`. Raises NoteError, which has nothing of the text: it may be a private key."""
        if text.startswith(_PRIVATE):
            raise NoteError("it is the private key: give the public one (FILE.pub), and show this one to nobody")
        name, key_id, key = _parts(text.strip(), "public key")
        made = cls(name, key)
        if made.key_id != key_id:
            raise NoteError(f"the id {key_id.hex()} is not that of the public key of {name}: {made.key_id.hex()}")
        return made

    def __str__(self) -> str:
        """Return `NAME+ID+KEY`."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(ED25519 + self.public).decode()}"

    @property
    def key_id(self) -> bytes:
        """Return the first four bytes of the hash of name, type and key."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Say whether a signature is of this key and this text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key, with its name."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        """Raises NoteError for a name that no line can have."""
        if not re.fullmatch(r"[^\s+]+", name):
            raise NoteError(f"the name of a key has no spaces and no +: {name!r}")
        self._private = private
        self.verifier = Verifier(name, private.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Read `PRIVATE+KEY+NAME+ID+KEY`, as Go's note package writes it. Raises NoteError, without the key."""
        if not text.startswith(_PRIVATE):
            raise NoteError(f"no private key: it does not begin with {_PRIVATE}")
        name, key_id, key = _parts(text.strip().removeprefix(_PRIVATE), "private key")
        made = cls(name, Ed25519PrivateKey.from_private_bytes(key))
        if made.verifier.key_id != key_id:
            raise NoteError(f"the private key of {name} is damaged: its id is another one")
        return made

    def __str__(self) -> str:
        """Return `PRIVATE+KEY+NAME+ID+KEY`: whoever has it can sign."""
        key = b64encode(ED25519 + self._private.private_bytes_raw()).decode()
        return f"{_PRIVATE}{self.verifier.name}+{self.verifier.key_id.hex()}+{key}"

    def sign(self, text: str) -> Signature:
        """Sign a text."""
        return Signature(self.verifier.name, self.verifier.key_id, self._private.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures."""

    text: str
    """With the newline at its end."""
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, content: bytes) -> "Note":
        """Read a note. Raises NoteError."""
        try:
            whole = content.decode()
        except UnicodeDecodeError as error:
            raise NoteError(f"the note is not UTF-8: {error}") from error
        if "\r\n" in whole:
            raise NoteError(WINDOWS)
        text, empty, lines = whole.rpartition("\n\n")
        if not empty or not lines.endswith("\n") or re.search("[\x00-\x09\x0b-\x1f]", whole):
            raise NoteError("no signed note: a text, an empty line, and signatures, byte by byte as it was signed")
        found = [_LINE.fullmatch(line) for line in lines[:-1].split("\n")]
        if len(found) > SIGNATURES:
            raise NoteError(f"the note has more than {SIGNATURES} signatures")
        signatures = []
        for line in found:
            signed = b"" if line is None else decoded(line["signature"])
            if line is None or len(signed) < 5:
                raise NoteError("a line under the note is no signature")
            signatures.append(Signature(line["name"], signed[:4], signed[4:]))
        return cls(text + "\n", tuple(signatures))

    def __bytes__(self) -> bytes:
        """Return the note as a file has it."""
        return (self.text + "\n" + "".join(map(str, self.signatures))).encode()

    def signed_by(self, trusted: Sequence[Verifier]) -> list[Verifier]:
        """Return which trusted keys signed it. Raises NotProved where none did, or a signature is wrong."""
        known = {(key.name, key.key_id): key for key in trusted}
        found = []
        for line in self.signatures:
            key = known.get((line.name, line.key_id))
            if key is None:
                continue
            if not key.has_signed(self.text, line.signature):
                raise NotProved(f"the signature of {key.name} is not of this text")
            found.append(key)
        if not found:
            names = ", ".join(f"{s.name} ({s.key_id.hex()})" for s in self.signatures)
            given = ", ".join(f"{key.name} ({key.key_id.hex()})" for key in trusted)
            raise Stranger(f"no trusted key has signed it; these have: {names}; trusted: {given}", names, given)
        return found


def _parts(text: str, what: str) -> tuple[str, bytes, bytes]:
    """Return name, id and the 32 bytes of a key. Raises NoteError."""
    found = _KEY.fullmatch(text)
    key = b"" if found is None else decoded(found["key"])
    if found is None or len(key) != 33 or key[:1] != ED25519:
        raise NoteError(f"no {what} of Ed25519: a line NAME+ID+KEY")
    return found["name"], bytes.fromhex(found["id"]), key[1:]


def decoded(text: str) -> bytes:
    """Return what base 64 stands for; nothing where it is none."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""
