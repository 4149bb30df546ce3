"""Read and write checkpoints, which say what tree a log has at a size, and proofs that refer to one (pure).

The forms are those of c2sp.org/tlog-checkpoint and c2sp.org/tlog-proof.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from audit.tree.merkle import leaf_hash, verify_inclusion
from audit.tree.note import WINDOWS, Note, NoteError, NotProved, Signer, Verifier, decoded
from audit.tree.tiles import HASH

_PROOF = "c2sp.org/tlog-proof@v1"
_SIZE = re.compile("0|[1-9][0-9]{0,18}")


class Checkpoint(NamedTuple):
    """The tree of a log at a size. `origin`: which log."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the text of a note. Raises NoteError."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise NoteError("no checkpoint: lines with its log, its size and its root")
        if len(root := decoded(lines[2])) != HASH:
            raise NoteError("the root of the checkpoint is no SHA-256 in base 64")
        return cls(lines[0], int(lines[1]), root)

    def __str__(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    def signed(self, *signers: Signer) -> Note:
        """Return it with signatures."""
        return Note(str(self), tuple(signer.sign(str(self)) for signer in signers))


def origin_of(name: str, topic: str, partition: int | str) -> str:
    """Return the identity of a partition's log: the name of the key that signs it, and where it lies."""
    return f"{name}/{topic}/{partition}"


def opened(content: bytes, trusted: Sequence[Verifier], origin: str | None = None) -> Checkpoint:
    """Return the checkpoint in a note that a trusted key has signed. Raises NotProved, also for another log's."""
    note = Note.parse(content)
    note.signed_by(trusted)
    found = Checkpoint.parse(note.text)
    if origin is not None and found.origin != origin:
        raise NotProved(f"the checkpoint is of the log {found.origin}, not of {origin}")
    return found


@dataclass(frozen=True, slots=True)
class Proof:
    """That an entry is in a log, for whoever has the log's public key and nothing else (c2sp.org/tlog-proof)."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note."""
    extra: bytes = b""
    """What it is about; nothing protects it."""

    @classmethod
    def parse(cls, content: bytes) -> "Proof":
        """Read it. Raises NoteError."""
        head, _, checkpoint = content.partition(b"\n\n")
        first, *lines = head.decode("ascii", "replace").split("\n")
        if first != _PROOF:
            raise NoteError(WINDOWS if first == _PROOF + "\r" else f"no proof: its first line is not {_PROOF}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decoded(lines.pop(0).removeprefix("extra "))
        word, _, index = lines.pop(0).partition(" ") if lines else ("", "", "")
        hashes = tuple(map(decoded, lines))
        if word != "index" or not _SIZE.fullmatch(index) or any(len(one) != HASH for one in hashes):
            raise NoteError("no proof: `index` and hashes have to follow")
        return cls(int(index), hashes, checkpoint, extra)

    def __bytes__(self) -> bytes:
        """Return it as a file has it."""
        extra = [f"extra {b64encode(self.extra).decode()}"] if self.extra else []
        lines = [_PROOF, *extra, f"index {self.index}", *(b64encode(one).decode() for one in self.hashes)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    def check(self, entry: bytes, trusted: Sequence[Verifier], origin: str | None = None) -> Checkpoint:
        """Return the checkpoint in which the entry is proved to be. Raises NotProved where it is not, NoteError."""
        found = opened(self.checkpoint, trusted, origin)
        if not verify_inclusion(self.index, found.size, leaf_hash(entry), found.root, self.hashes):
            raise NotProved(f"the entry is not number {self.index} of the log at size {found.size}")
        return found
