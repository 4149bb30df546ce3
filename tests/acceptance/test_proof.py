"""The tree over the log of the real night, by us and by Go's checksum-database packages: the same to the byte."""

from __future__ import annotations

import subprocess
import threading
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from audit import notary
from audit.checkpoint_topic import CheckpointTopic
from audit.entries import entry_of
from audit.metrics import Metrics
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint
from audit.tree.merkle import consistency_proof, inclusion_proof, root_of
from audit.tree.note import Signer
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from tests.acceptance.conftest import Night
from tests.support.fix_recount import go_built

PEER = Path(__file__).parents[1] / "support" / "peers" / "tlog"
KEY = Signer("log.example/night", Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def signed(night: Night, tmp_path_factory: pytest.TempPathFactory) -> tuple[TreeFolder, Checkpoint]:
    """The files of the tree, and the checkpoint."""
    folder, setup = tmp_path_factory.mktemp("proof"), night.setup
    kafka = KafkaAccess(setup.bootstrap_servers)
    with (
        Reader(kafka, setup.names.events) as log,
        CheckpointTopic.opened(kafka, setup.names.checkpoints, KEY.verifier) as published,
    ):
        (checkpoint,) = notary.run(
            log, folder, KEY, published, threading.Event(), Metrics(CollectorRegistry()), follow=False
        )
    return TreeFolder(folder / setup.names.events / "0"), checkpoint


def test_go_finds_the_same_root_and_makes_the_same_proofs(
    night: Night, signed: tuple[TreeFolder, Checkpoint], tmp_path: Path
) -> None:
    folder, checkpoint = signed
    assert checkpoint.size > 90_000
    peer = go_built(PEER, tmp_path / "peer")
    line = [str(peer), str(folder.path), str(KEY.verifier), "200"]
    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(said) == 200
    subtrees, entries = folder.subtrees(checkpoint.size), dict[int, bytes]()
    for index, entry, included, old, before, extends in (one.split(" ") for one in said):
        entries[int(index)] = b64decode(entry)
        assert included == _written(inclusion_proof(int(index), checkpoint.size, subtrees))
        assert before == _written([root_of(int(old), subtrees)])
        assert extends == _written(consistency_proof(int(old), checkpoint.size, subtrees))
    with Reader(KafkaAccess(night.setup.bootstrap_servers), night.setup.names.events) as log:
        for record in log.messages_at(0, list(entries)[:20]):
            assert bytes(entry_of(log.topic, record)) == entries[record.offset]


def test_go_refuses_a_key_and_a_tile_of_another(signed: tuple[TreeFolder, Checkpoint], tmp_path: Path) -> None:
    folder, _ = signed
    peer = go_built(PEER, tmp_path / "peer")
    other = Signer("log.example/night", Ed25519PrivateKey.generate()).verifier
    assert subprocess.run([str(peer), str(folder.path), str(other), "1"], check=False).returncode != 0
    tile = folder.path / "tile" / "1" / "000"
    content = tile.read_bytes()
    try:
        tile.write_bytes(bytes(32) + content[32:])
        line = [str(peer), str(folder.path), str(KEY.verifier), "50"]
        assert subprocess.run(line, check=False).returncode != 0
    finally:
        tile.write_bytes(content)


def _written(hashes: list[bytes]) -> str:
    return ",".join(b64encode(one).decode() for one in hashes)
