"""A bundle's check against what ingest does: of whatever documents are loaded, the log is what they say."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.bundle.checking import check
from audit.bundle.outcome import Check
from ingest.feeds import registry
from ingest.feeds.statement import Kept, Rejection
from ingest.news.changes import adopt, changes_since
from ingest.news.contest_memory import ContestMemory
from schemas.count_update import CountUpdate
from tests.support import bundles
from tests.support.small_contest import HEADER, row, small

CONTEST = small()
OBSERVED = datetime(2020, 11, 5, tzinfo=UTC)


@dataclass
class Loaded:
    """What ingest makes of documents, without Kafka."""

    documents: dict[str, bytes]
    events: list[CountUpdate] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        memory = ContestMemory(CONTEST)
        late = True
        while late:  # as `ingest.pipeline.Loader`
            late = False
            for name, content in self.documents.items():
                kept = Kept(name, content, hashlib.sha256(content).hexdigest(), OBSERVED)
                recognised = registry.recognise(kept)
                assert not isinstance(recognised, Rejection)
                for batch in registry.plan([recognised]):
                    changes = changes_since(registry.parse(batch, CONTEST), memory)
                    late = late or bool(changes.late)
                    self.events += changes.events
                    self.rejections += (one for one in (*changes.rejections, *changes.left_out))
                    adopt(memory, changes)

    def check(self, folder: Path, events: Sequence[CountUpdate] | None = None) -> dict[str, Check]:
        """Write it as a bundle, and check that."""
        records = bundles.records_of([CONTEST, *(self.events if events is None else events)])
        unique = {rejection.id: rejection.message(CONTEST.contest_id) for rejection in self.rejections}
        key = bundles.write(folder, records, bundles.records_of(unique.values()), self.named)
        return {one.code: one for one in check(folder, key)}

    @property
    def named(self) -> dict[str, bytes]:
        """The documents that an event or a rejection names: those that are exported."""
        names = {event.source.documents[0].name for event in self.events} | {one.document for one in self.rejections}
        return {name: content for name, content in self.documents.items() if name in names}


def _documents(seed: int) -> dict[str, bytes]:
    """A few documents whose rows repeat, correct and contradict each other, in whatever order of time."""
    chance = random.Random(seed)
    made = {}
    for number in range(chance.randrange(1, 5)):
        rows = [
            row(
                chance.choice(("P1", "P2", "P3", "P4")),
                chance.choice(("broome", "broome", "kings")),
                chance.choice((100, 100, 200, "x")),
                chance.choice((50, 60)),
                chance.randrange(19, 23),
            )
            for _ in range(chance.randrange(1, 12))
        ]
        rows = [one.replace("ny-2020-president", "another") if chance.random() < 0.1 else one for one in rows]
        made[f"{number}.csv"] = (HEADER + row("P1", "broome") + "".join(rows)).encode()
    return made


@pytest.mark.parametrize(
    "seed", [*range(8), 97721918, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(8, 400))]
)
def test_whatever_is_loaded_the_log_is_what_the_documents_say(tmp_path: Path, seed: int) -> None:
    for number in (seed, random.randrange(10**9)):  # by the seed of the report's header
        loaded = Loaded(_documents(number))
        found = loaded.check(tmp_path / str(number))
        assert {one.code: one.places for one in found.values() if one.holds is False} == {}, number
        told = found["not_summed"].said.of["rows"]
        of_log = len({(event.source.documents[0].sha256, event.source.documents[0].place) for event in loaded.events})
        assert told + of_log == sum(content.count(b"\n") - 1 for content in set(loaded.named.values())), number


@pytest.mark.parametrize("seed", range(6))
def test_a_statement_that_is_withheld_is_missed_though_its_chain_is_whole(tmp_path: Path, seed: int) -> None:
    loaded = Loaded(_documents(seed + 100))
    last = {event.unit: place for place, event in enumerate(loaded.events)}
    of_last_document = loaded.events[-1].source.documents[0].sha256
    for place in last.values():
        gone = loaded.events[place]
        if gone.source.documents[0].sha256 == of_last_document:
            continue  # where the log ends within a document, ingest may have sent no more of it
        found = loaded.check(tmp_path / str(place), [*loaded.events[:place], *loaded.events[place + 1 :]])
        assert found["chains"].holds
        assert (gone.source.documents[0].sha256, str(gone.unit)) in {
            (said.of["sha256"], said.of["unit"]) for said in found["rows"].places
        }
