"""A bundle's check against what ingest does: of whatever documents are loaded, the log is what they say."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.bundle.checking import check
from audit.bundle.outcome import Check
from ingest.feeds import registry
from ingest.feeds.statement import Rejection, by_our_clock
from ingest.news.changes import adopt, changes_since
from ingest.news.contest_memory import ContestMemory
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, Document
from schemas.identity import NIL, named
from schemas.types import CorrectionBasis, UpdateKind
from tests.support import bundles
from tests.support.ingest_samples import ACTA, FINAL, NATIONAL, OBSERVED, kept
from tests.support.ingest_samples import contest as peru
from tests.support.small_contest import HEADER, row, small

CONTEST = small()


@dataclass
class Loaded:
    """What ingest makes of documents, without Kafka."""

    documents: dict[str, bytes]
    contest: ContestDefined = CONTEST
    together: int = 1
    """The first documents, which are loaded together."""
    ahead: timedelta = timedelta(0)
    """What the office's clock is said to be ahead."""
    events: list[CountUpdate] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        memory = ContestMemory(self.contest)
        names, late = list(self.documents), True
        groups = [names[: self.together], *([name] for name in names[self.together :])]
        while late:  # as `ingest.pipeline.Loader`
            late = False
            for group in groups:
                recognised = [registry.recognise(kept(self.documents[name], name, OBSERVED)) for name in group]
                for batch in registry.plan([one for one in recognised if not isinstance(one, Rejection)]):
                    snapshots = [by_our_clock(one, self.ahead) for one in registry.parse(batch, self.contest)]
                    changes = changes_since(snapshots, memory)
                    late = late or bool(changes.late)
                    self.events += changes.events
                    self.rejections += (*changes.rejections, *changes.left_out)
                    adopt(memory, changes)

    def check(self, folder: Path, events: Sequence[CountUpdate] | None = None) -> dict[str, Check]:
        """Write it as a bundle, and check that."""
        records = bundles.records_of([self.contest, *(self.events if events is None else events)])
        unique = {rejection.id: rejection.message(self.contest.contest_id) for rejection in self.rejections}
        key = bundles.write(folder, records, bundles.records_of(unique.values()), self.named)
        return {one.code: one for one in check(folder, key)}

    @property
    def named(self) -> dict[str, bytes]:
        """The documents that an event or a rejection names: those that are exported."""
        names = {one.name for event in self.events for one in event.source.documents}
        names |= {one.document for one in self.rejections}
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


ONPE = {name: content.encode() for name, content in {**NATIONAL, "acta": ACTA, "final": FINAL}.items()}
"""The four tables of a bulletin, and two documents of sheets."""


def test_sheets_and_bulletins_are_found_in_the_forms_of_the_office(tmp_path: Path) -> None:
    loaded = Loaded(ONPE, peru(), together=len(NATIONAL))
    found = loaded.check(tmp_path / "whole")
    assert {one.code: one.places for one in found.values() if one.holds is False} == {}
    assert found["statements"].said.of["count"] == len(loaded.events) == 9
    of_final = sum(event.source.documents[0].name == "final" for event in loaded.events)
    assert found["statements"].said.of["claimed"] == of_final == 2
    assert [place.of["rows"] for place in found["not_summed"].places] == ["2"]
    for name, change in _CHANGES.items():
        events = [named(event.model_copy(update={name: change(event)})) for event in loaded.events]
        differing = [i for i, (one, other) in enumerate(zip(events, loaded.events, strict=True), 1) if one != other]
        said = loaded.check(tmp_path / name, events)["statements"].places
        assert sorted({(one.code, one.of["offset"]) for one in said}) == [("statements.differs", i) for i in differing]
        assert differing


_CHANGES: dict[str, Callable[[CountUpdate], Any]] = {
    "counts": lambda event: event.counts and event.counts.model_copy(update={"invalid_votes": 4321}),
    "office_note": lambda _: "a note",
    "reporting_unit": lambda event: event.reporting_unit.model_copy(update={"name": "another school"}),
    "stated_at": lambda event: event.stated_at - timedelta(hours=event.source.documents[0].name == "acta"),
    "published_percentages": lambda _: None,
}
"""Ways to alter statements of the log so that their documents do not have them."""


@pytest.mark.parametrize(
    ("forged", "is_signed"),
    [({}, True), ({"confirmed_by": "Ana"}, False), ({"event_id": str(NIL)}, False), ({"votes": 2}, False)],
)
def test_what_people_decided_is_listed_with_their_names(
    tmp_path: Path, forged: dict[str, Any], is_signed: bool
) -> None:
    """An event that their documents do not have, or that one of them alone signed, is no decision."""
    loaded = Loaded({"0.csv": (HEADER + row("P1", "broome")).encode()})
    first = loaded.events[0]
    assert first.counts is not None
    correction = Correction(
        reason="typed wrongly",
        basis=CorrectionBasis.OPERATOR,
        authority="County clerk",
        replaces_event_id=first.event_id,
    )
    change = {
        "sequence": 2,
        "previous_event_id": first.event_id,
        "kind": UpdateKind.CORRECTED,
        "correction": correction,
        "counts": first.counts.model_copy(update={"votes": {"lee": 1, "roe": 1}, "ballots_cast": 2}),
    }
    event = named(first.model_copy(update=change))
    decided_event = event.model_dump(mode="json")
    decided_event["counts"]["votes"]["lee"] = forged.get("votes", 1)
    proposal = json.dumps({"proposed_by": "Ana", "event": decided_event}).encode()
    said = {"proposal_sha256": hashlib.sha256(proposal).hexdigest(), "event_id": str(event.event_id)}
    confirmation = json.dumps(said | {"confirmed_by": "Bea"} | forged).encode()
    papers = {"proposal": proposal, "confirmation": confirmation}
    documents = tuple(
        Document(name=name, sha256=hashlib.sha256(content).hexdigest(), place="") for name, content in papers.items()
    )
    source = first.source.model_copy(update={"name": "operator", "documents": documents})
    loaded.events.append(event.model_copy(update={"source": source}))
    loaded.documents |= papers
    found = loaded.check(tmp_path)
    faults = [place.code for one in found.values() if one.holds is False for place in one.places]
    assert faults == ([] if is_signed else ["statements.undecided"])
    defined, decided = found["operators"].places
    assert defined.code == "operators.definition"
    names = decided.of["proposed_by"], decided.of["confirmed_by"]
    assert (decided.of["kind"], *names) == ("CORRECTED", "Ana", forged.get("confirmed_by", "Bea"))


def test_a_clock_that_was_said_to_be_ahead_is_listed(tmp_path: Path) -> None:
    documents = {"0.csv": (HEADER + row("P1", "broome") + row("P2", "kings")).encode()}
    found = Loaded(documents, ahead=timedelta(hours=1)).check(tmp_path)
    assert not [one for one in found.values() if one.holds is False]
    (place,) = found["clocks"].places
    assert (place.of["count"], place.of["seconds"]) == (2, 3600)
    for number, ahead in enumerate((timedelta(days=-2), timedelta(seconds=-1.5))):
        found = Loaded(documents, ahead=ahead).check(tmp_path / str(number))
        assert "clocks" not in found
        assert {place.of["what"] for place in found["statements"].places} >= {"reported_at"}, "no clock is told of that"


def test_where_the_log_ends_within_a_document_its_other_rows_are_not_missed(tmp_path: Path) -> None:
    rows = (row("P1", "broome"), row("P2", "kings"), row("P3", "kings"), row("P4", "kings"))
    loaded = Loaded({"0.csv": (HEADER + "".join(rows)).encode()})
    found = loaded.check(tmp_path / "short", loaded.events[:2])
    assert found["rows"].holds
    assert [(place.code, place.of["rows"]) for place in found["not_summed"].places] == [("not_summed.log_ends", "4-5")]
    found = loaded.check(tmp_path / "hole", [loaded.events[0], loaded.events[2], loaded.events[3]])
    assert [place.of["row"] for place in found["rows"].places] == ["row 3"]
