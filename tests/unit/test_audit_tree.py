"""The tree, its tiles, notes and proofs: against the definition of RFC 6962, and vectors of others."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.tree.checkpoint import Checkpoint, Proof, opened
from audit.tree.growing import Growing
from audit.tree.leaf import Entry, digest, headers_digest
from audit.tree.merkle import (
    EMPTY,
    Peaks,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_above,
    root_of,
    shared_proof,
    verify_consistency,
    verify_inclusion,
)
from audit.tree.note import Note, NoteError, NotProved, Signer, Verifier
from audit.tree.tiles import Tile, entries_in, new_tiles, subtrees_from, tiles_of

RFC_LEAVES = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", bytes(range(0x60, 0x70))]
"""Of the reference implementation of Certificate Transparency."""
RFC_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The example of Go's package note. Ed25519 gives one signature for a text."""


def root(entries: Sequence[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return leaf_hash(entries[0])
    middle = 1 << (len(entries) - 1).bit_length() - 1
    return node_hash(root(entries[:middle]), root(entries[middle:]))


def entries_of(size: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(size)]


class Files(dict[str, bytes]):
    """The files of a tree, by path."""

    def grow(self, tree: Growing, entries: Sequence[bytes], *earlier: int) -> None:
        """Add entries, and write what is full; then what is not, or was not at earlier sizes."""
        for entry in entries:
            self._put(tree.add(entry))
        self._put(tree.unfinished(*earlier))

    def _put(self, found: object) -> None:
        for tile, content in found:  # type: ignore[attr-defined]
            assert self.setdefault(tile.path, content) == content, "a file never changes"

    def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        return {tile: self[tile.path] for tile in tiles}


def files_of(size: int) -> tuple[Files, Growing]:
    files, tree = Files(), Growing()
    files.grow(tree, entries_of(size))
    return files, tree


SIZES = [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 1000]


def test_the_root_is_that_of_the_reference_implementation() -> None:
    tree = Growing()
    for entry in RFC_LEAVES:
        assert list(tree.add(entry)) == []
    assert tree.root().hex() == RFC_ROOT
    assert Growing().root() == EMPTY == root([])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [0, 3, 8])
def test_a_tree_of_whole_subtrees_and_what_follows_them_has_the_same_root(size: int, level: int) -> None:
    leaves = [leaf_hash(entry) for entry in entries_of(size)]
    tree, part = Peaks(), Peaks()
    for leaf in leaves:
        part.add(leaf)
        if part.size == 1 << level:
            (whole,) = part.peaks()
            tree.add(whole, level)
            part = Peaks()
    assert tree.root(part.peaks()) == root(entries_of(size))


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_has_the_root_and_the_files_that_are_specified(size: int) -> None:
    files, tree = files_of(size)
    assert tree.root() == root(entries_of(size))
    assert files.keys() == {tile.path for tile in tiles_of(size)}
    assert root_of(size, subtrees_from(size, files.read)) == tree.root()
    for tile in tiles_of(size):
        content = files[tile.path]
        if tile.level is None:
            assert entries_in(content) == entries_of(size)[tile.index * 256 :][: tile.width]
            continue
        leaves = 256**tile.level
        begin = tile.index * 256 * leaves
        parts = [entries_of(size)[begin + n * leaves :][:leaves] for n in range(tile.width)]
        assert content == b"".join(map(root, parts))


def test_files_have_the_names_that_are_specified() -> None:
    assert Tile(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(None, 5, 3).path == "tile/entries/005.p/3"
    partial = [tile.path for tile in new_tiles(0, 70_000) if tile.width < 256]
    assert partial == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]


@given(earlier=st.integers(0, 600), more=st.integers(0, 600))
def test_a_tree_that_has_grown_still_gives_the_partial_files_of_an_earlier_size(earlier: int, more: int) -> None:
    files, tree = Files(), Growing()
    files.grow(tree, entries_of(earlier + more), earlier)
    for tile in tiles_of(earlier):
        whole = Tile(tile.level, tile.index)
        if (content := files.get(tile.path)) is not None:
            assert content == files_of(earlier)[0][tile.path]
        else:
            assert files[whole.path].startswith(files_of(earlier)[0][tile.path]), "it is full since"


@given(st.data())
def test_a_proof_of_inclusion_holds_for_its_leaf_and_nothing_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 700))
    index = data.draw(st.integers(0, size - 1))
    files, tree = files_of(size)
    top, leaf = tree.root(), leaf_hash(entries_of(size)[index])
    proof = inclusion_proof(index, size, subtrees_from(size, files.read))
    assert verify_inclusion(index, size, leaf, top, proof)
    assert not verify_inclusion(index, size, leaf_hash(b"another"), top, proof)
    assert not verify_inclusion(index, size, leaf, sha256(b"another").digest(), proof)
    for other in {data.draw(st.integers(0, size)), index + 1, size} - {index}:
        assert not verify_inclusion(other, size, leaf, top, proof)
    for altered in (proof[:-1], [*proof, top], [top, *proof], [top, *proof[1:]], proof[::-1]):
        assert altered == proof or not verify_inclusion(index, size, leaf, top, altered)


@given(st.data())
def test_a_shared_proof_holds_for_its_leaves_and_nothing_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 700))
    indices = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=40)))
    files, tree = files_of(size)
    leaves = [leaf_hash(entries_of(size)[index]) for index in indices]
    proof = shared_proof(indices, size, subtrees_from(size, files.read))
    assert root_above(indices, leaves, size, proof) == tree.root()
    alone = {one for index in indices for one in inclusion_proof(index, size, subtrees_from(size, files.read))}
    assert set(proof) <= alone
    place = data.draw(st.integers(0, len(indices) - 1))
    assert root_above(indices, [*leaves[:place], leaf_hash(b"x"), *leaves[place + 1 :]], size, proof) != tree.root()
    for strange in (indices[::-1], [*indices, size], [-1, *indices], [*indices, indices[-1]]):
        if strange != indices:
            with pytest.raises(ValueError, match="ascending"):
                root_above(strange, leaves * 2, size, proof)
    with pytest.raises(ValueError, match="more hashes"):
        root_above(indices, leaves, size, [*proof, leaves[0]])
    if proof:
        with pytest.raises(ValueError, match="too few"):
            root_above(indices, leaves, size, proof[:-1])


@given(st.data())
def test_a_proof_of_consistency_holds_for_its_trees_and_nothing_else(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 700))
    old = data.draw(st.integers(1, new))
    files, tree = files_of(new)
    before, after = root(entries_of(old)), tree.root()
    proof = consistency_proof(old, new, subtrees_from(new, files.read))
    assert verify_consistency(old, new, before, after, proof)
    assert not verify_consistency(old, new, sha256(b"another").digest(), after, proof)
    assert not verify_consistency(old, new, before, sha256(b"another").digest(), proof)
    assert not verify_consistency(new + 1, old, before, after, proof)
    for altered in (proof[:-1], [*proof, after], [after, *proof[1:]]):
        assert altered == proof or not verify_consistency(old, new, before, after, altered)
    assert verify_consistency(0, new, EMPTY, after, [])


@given(st.binary(max_size=200))
def test_entries_are_read_whole_or_not_at_all(content: bytes) -> None:
    try:
        found = entries_in(content)
    except ValueError:
        return
    assert sum(2 + len(entry) for entry in found) == len(content)


def test_what_go_signs_is_what_we_sign() -> None:
    signer = Signer.parse(GO_PRIVATE)
    assert (str(signer), str(signer.verifier)) == (GO_PRIVATE, GO_PUBLIC)
    assert str(signer.sign(GO_TEXT)) == GO_SIGNATURE
    note = Note.parse((GO_TEXT + "\n" + GO_SIGNATURE).encode())
    assert note.signed_by([Verifier.parse(GO_PUBLIC)]) == [signer.verifier]


@pytest.mark.parametrize("text", [GO_PRIVATE, GO_PRIVATE[:-1], GO_PRIVATE.removeprefix("PRIVATE+KEY+")])
def test_a_private_key_given_for_the_public_one_is_never_shown(text: str) -> None:
    with pytest.raises(NoteError) as refused:
        Verifier.parse(text)
    assert GO_PRIVATE[-40:-1] not in str(refused.value)


def signer(name: str = "log.example") -> Signer:
    return Signer(name, Ed25519PrivateKey.generate())


def test_a_note_is_refused_that_nobody_signed_who_is_trusted_or_that_was_altered() -> None:
    ours, other = signer(), signer()
    checkpoint = Checkpoint("log.example/x/0", 3, sha256(b"3").digest())
    note = bytes(checkpoint.signed(ours))
    assert opened(note, [ours.verifier]) == checkpoint
    assert opened(bytes(checkpoint.signed(other, ours)), [ours.verifier]) == checkpoint, "others may sign beside"
    with pytest.raises(NotProved, match=r"no trusted key has signed it; these have: log\.example"):
        opened(note, [other.verifier])
    with pytest.raises(NotProved, match=r"the signature of log\.example is not of this text"):
        opened(note.replace(b"\n3\n", b"\n4\n"), [ours.verifier])
    with pytest.raises(NotProved, match=r"is of the log log\.example/x/0, not of log\.example/x/1"):
        opened(note, [ours.verifier], "log.example/x/1")
    for sent in (note, b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note):
        with pytest.raises(NoteError, match="Windows line ends"):
            (Note if sent == note else Proof).parse(sent.replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x\n",
        b"x\n\n",
        b"\xff\n\n\xe2\x80\x94 x AAAAAAA=\n",
        b"x\n\n- x AAAAAAA=\n",
        b"x\n\n\xe2\x80\x94 x !\n",
        b"x\t\n\n\xe2\x80\x94 x AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(content: bytes) -> None:
    with pytest.raises(NoteError):
        Note.parse(content)


@pytest.mark.parametrize("text", ["x\n", "x\n01\n" + "A" * 43 + "=\n", "x\n1\nAA==\n", "x\n-1\n" + "A" * 43 + "=\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_a_proof_is_read_as_it_was_written_and_refused_when_it_was_altered() -> None:
    ours, entries = signer(), entries_of(300)
    files, tree = files_of(300)
    note = bytes(Checkpoint("log.example/x/0", 300, tree.root()).signed(ours))
    hashes = inclusion_proof(41, 300, subtrees_from(300, files.read))
    proof = Proof(41, tuple(hashes), note, b"about it")
    assert Proof.parse(bytes(proof)) == proof
    assert Proof.parse(bytes(Proof(41, tuple(hashes), note))).extra == b""
    assert Proof.parse(bytes(proof)).check(entries[41], [ours.verifier]).size == 300
    with pytest.raises(NotProved, match="the entry is not number 41"):
        proof.check(entries[42], [ours.verifier])
    for altered in (
        b"",
        bytes(proof)[1:],
        bytes(proof).replace(b"index 41", b"index 041"),
        b"c2sp.org/tlog-proof@v1\n\n",
    ):
        with pytest.raises(NoteError):
            Proof.parse(altered)


def test_an_entry_binds_the_place_and_every_byte_of_a_message() -> None:
    entry = Entry(
        "results.events",
        3,
        41,
        1_623_111_111_000,
        digest(b"key"),
        headers_digest([("a", b"1"), ("b", None)]),
        digest(None),
    )
    assert Entry.parse(bytes(entry)) == entry
    assert bytes(entry).hex() == (
        "01000e726573756c74732e6576656e7473"  # version, length and name of the topic
        "00000003" "0000000000000029" "00000179e8f61158"  # partition, offset, time
        + sha256(b"key").hexdigest()
        + sha256(bytes.fromhex("00000001" "61" "00000001" "31" "00000001" "62" "ffffffff")).hexdigest()
        + "00" * 32
    )  # fmt: skip
    others = [headers_digest(of) for of in ([], [("a", b"")], [("a", None)], [("", b"a")], [("a", b""), ("b", b"")])]
    assert len(set(others)) == len(others)
    for content in (b"", bytes(entry)[:-1], bytes(entry) + b"\x00", b"\x02" + bytes(entry)[1:]):
        with pytest.raises(ValueError, match="no entry of this layout"):
            Entry.parse(content)
