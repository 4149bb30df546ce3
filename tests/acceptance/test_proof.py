"""The tree over the log of the real night, by us and by others, in Go and in Python: the same to the byte."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import threading
from base64 import b64decode, b64encode
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint as Theirs

from audit import notary, total
from audit.bundle.lines import line_of
from audit.checkpoint_topic import CheckpointTopic
from audit.entries import entry_of
from audit.metrics import Metrics
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint
from audit.tree.merkle import consistency_proof, inclusion_proof, root_of
from audit.tree.note import Signer
from ingest.sources.archive import Archive
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from tests.acceptance.conftest import ACTAS, Night
from tests.support.duck import in_duckdb
from tests.support.fix_api import serving
from tests.support.fix_recount import go_built, go_toolchain
from tests.support.fix_setup import CONTEST

PEER = Path(__file__).parents[1] / "support" / "peers" / "tlog"
DISTRICT, COUNTY = "010104", "010100"
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


def test_each_checkpoint_of_the_night_holds_though_several_processes_read_the_log(
    night: Night, signed: tuple[TreeFolder, Checkpoint], tmp_path: Path
) -> None:
    folder, last = signed
    key, wrong = tmp_path / "log.key.pub", last._replace(size=70_001)
    key.write_text(f"{KEY.verifier}\n", encoding="utf-8")
    sizes = (1, 1023, 1024, 1025, 46_080, 46_081, 60_000, last.size)
    kept = [last._replace(size=size, root=root_of(size, folder.subtrees(size))) for size in sizes]
    files = [tmp_path / str(one.size) for one in (*kept, wrong)]
    for file, one in zip(files, (*kept, wrong), strict=True):
        file.write_bytes(bytes(one.signed(KEY)))
    command = ("audit", "verify", "--key", str(key), "--json")
    assert _held(night.setup.alone(*command, *map(str, files[:-1]))) == [True] * len(kept)
    assert _held(night.setup.run(*command, *map(str, files), expect=1)) == [
        one != wrong for one in sorted((*kept, wrong), key=lambda one: one.size)
    ], "and where one does"


def _held(said: str) -> list[bool]:
    return [one["holds"] for one in json.loads(said)["checkpoints"]]


def test_a_total_leads_to_its_sheets_and_their_documents(
    night: Night, signed: tuple[TreeFolder, Checkpoint], tmp_path: Path
) -> None:
    setup, key, proof = night.setup, tmp_path / "log.key.pub", tmp_path / "sheet.tlog-proof"
    key.write_text(f"{KEY.verifier}\n", encoding="utf-8")
    with serving(setup.database.reader_url) as api:
        api.follow(setup.database.reader_url)
        said = api.json(f"/v1/contests/{CONTEST}/counts?area={DISTRICT}")
    listed = setup.json("results", "statements", CONTEST, DISTRICT)
    assert (said["basis"], len(listed["statements"])) == ("COMPUTED", said["sub_units"]["counted"])
    sql = "SELECT votes, topic, partition, last_offset FROM results.area_count WHERE area_id = %s"
    ((view, *place),) = setup.database.read(sql, DISTRICT)
    assert place == [*said["log"].values(), said["last_update"]["offset"]]
    assert place[2] == listed["statements"][-1]["offset"]
    votes = Counter[str]()
    for of in listed["statements"]:
        where = ("--partition", str(listed["log"]["partition"]), str(signed[0].path.parents[1]), str(of["offset"]))
        proof.write_text(setup.run("audit", "prove", "--key", str(key), *where), encoding="utf-8")
        proved = setup.json("audit", "check", "--key", str(key), str(proof))
        event = proved["event"]
        assert (proved["topic"], event["event_id"]) == (listed["log"]["topic"], of["event_id"])
        assert event["source"]["documents"] == of["documents"]
        votes.update(event["counts"]["votes"])
        (document,) = of["documents"]
        row = _row(setup.archive, document["sha256"], document["place"])
        assert f"precinct/{int(row['num_mesa']):06}" == of["unit"]
        figures = {"peru-libre": int(row["votos_perulibre"]), "fuerza-popular": int(row["votos_fuerzapopular"])}
        assert event["counts"]["votes"] == figures
    assert len(listed["statements"]) > 1
    assert votes == view == {s["selection_id"]: s["votes"] for s in said["selections"]}


def _row(archive: Path, sha256: str, place: str) -> dict[str, str]:
    """A row of the office's document, from the archive."""
    with Archive(archive, beside=True) as kept:
        text = gzip.decompress(kept.find(sha256)[0]).decode()
    return list(csv.DictReader(text.splitlines()))[int(place.removeprefix("row ")) - 2]


def test_a_total_of_any_moment_is_made_of_the_statements_that_are_listed(night: Night) -> None:
    recorded = night.counts[ACTAS[1]]["as_of"]["offset"]
    sql = """
        SELECT key, sum(value::int)::int FROM results.update_history, jsonb_each_text(counts -> 'votes')
        WHERE log_offset = ANY (%s) AND count_status = 'COUNTED' GROUP BY key"""
    for flags in ((), ("--at-offset", str(recorded)), ("--at-reported", "2021-06-09T01:12:00Z")):
        said, listed = (night.setup.json("results", name, CONTEST, COUNTY, *flags) for name in ("show", "statements"))
        assert [listed[name] for name in ("moment", "as_of", "log")] == [
            said[name] for name in ("moment", "as_of", "log")
        ]
        found = dict(night.setup.database.read(sql, [of["offset"] for of in listed["statements"]]))
        assert found == {s["selection_id"]: s["votes"] for s in said["selections"]}, flags


@pytest.mark.soak
def test_in_sql_every_area_has_the_figures_of_show(night: Night, tmp_path: Path) -> None:
    setup, events = night.setup, tmp_path / "events.jsonl"
    with Reader(KafkaAccess(setup.bootstrap_servers), setup.names.events) as log, events.open("wb") as lines:
        lines.writelines(line_of(record) for batch in log.read_to_end(0) for record in batch)
    for offset in (87_000, night.counts[ACTAS[2]]["as_of"]["offset"]):
        found = in_duckdb(events, f"SET VARIABLE to_offset = {offset}")
        shown = setup.json("results", "show", CONTEST, "--all-areas", "--at-offset", str(offset))["counts"]
        assert len(found) == len(shown) > 2_000
        for of in shown:
            names = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes")
            sheets = ("processed", "counted", "annulled", "not_installed", "under_review", "in_process")
            figures = {name: of[name] for name in names} | {name: of["sub_units"][name] for name in sheets}
            figures |= {one["selection_id"]: one["votes"] for one in of["selections"]}
            figures["registered_voters_counted"] = of["turnout"]["registered_voters_counted"]
            assert {name: found[of["area_id"]][name] for name in figures} == figures, (offset, of["area_id"])


def test_the_total_of_a_department_is_proved_by_its_sheets(night: Night, signed: tuple[TreeFolder, Checkpoint]) -> None:
    setup, files = night.setup, signed[0].path.parents[1]
    with Reader(KafkaAccess(setup.bootstrap_servers), setup.names.events) as log:
        content = total.prove(log, files, KEY.verifier, CONTEST, "010000", None)
    found, shown = total.check(content, KEY.verifier), setup.show("010000")
    figures = {of["selection_id"]: of["votes"] for of in shown["selections"]}
    assert {name: found.figures[f"votes.{name}"] for name in figures} == figures
    for name in ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes"):
        assert found.figures[name] == shown[name]
    for name in ("total", "counted", "under_review", "annulled", "not_installed"):
        assert found.figures[name] == shown["sub_units"][name]
    assert len(found.statements) == shown["sub_units"]["total"] > 1_000
    assert all(of.documents and "row" in of.documents[0].place for of in found.statements)
    assert len(content) < 300_000


def test_a_reader_in_python_finds_the_same_roots_and_proofs_also_where_a_publication_ended(
    signed: tuple[TreeFolder, Checkpoint],
) -> None:
    folder, checkpoint = signed
    reader, key = TilesReader(LocalBackend(folder.path)), Vkey.from_string(str(KEY.verifier))
    last = reader.get_checkpoint()
    last.verify(key)
    assert (last.origin, last.size, reader.calculate_root_hash()) == checkpoint
    ends = folder.kept()
    assert ends[:44] == [*range(2, 46)], "each bulletin, behind the definition"
    assert len(ends) > 45, "and the sheets of a moment"
    for size in ends:
        kept = Theirs.from_text((folder.path / "checkpoints" / str(size)).read_text(encoding="utf-8"))
        kept.verify(key)
        of_then = TilesReader(LocalBackend(folder.path))
        of_then.set_size(size)
        assert of_then.calculate_root_hash() == kept.root_hash
    subtrees, random = folder.subtrees(last.size), Random(1)
    for index in random.sample(range(last.size), 50):
        proof = reader.get_inclusion_proof(index, last.size)
        proof.check(leaf_hash(reader.get_entry(index)), last.root_hash)
        assert proof.node_hashes == inclusion_proof(index, last.size, subtrees)
    for old in [*ends, *random.sample(range(1, last.size), 50)]:
        extends = reader.get_consistency_proof(old, last.size)
        extends.check(root_of(old, subtrees), last.root_hash)
        assert extends.node_hashes == consistency_proof(old, last.size, subtrees)


@pytest.mark.soak
def test_fsck_of_tessera_finds_the_served_folder_whole(signed: tuple[TreeFolder, Checkpoint], tmp_path: Path) -> None:
    """Built by Go from its module proxy, which needs a network the first time."""
    folder, checkpoint = signed
    go, environment = go_toolchain()
    line = [str(go), "install", "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"]
    subprocess.run(line, check=True, env=environment | {"GOBIN": str(tmp_path)}, cwd=tmp_path)
    (tmp_path / "log.key.pub").write_text(f"{KEY.verifier}\n", encoding="utf-8")
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder.path)))
    with served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        address = f"--storage_url=http://127.0.0.1:{served.server_port}/"
        flags = [address, f"--public_key={tmp_path / 'log.key.pub'}", f"--origin={checkpoint.origin}", "--ui=false"]
        said = subprocess.run([str(tmp_path / "fsck"), *flags], check=False, capture_output=True, text=True)
        served.shutdown()
    assert f"Successfully fsck'd log with size {checkpoint.size} and root" in said.stderr, said.stderr
    assert said.returncode == 0


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
