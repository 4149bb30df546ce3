"""A small log with what a reader must refuse, accept with a finding, or stop at: vectors of the contract.

`tests/unit/vectors/hostile_log.json` is what this writes (`python -m tests.support.hostile_log`). What is accepted, and
each code, is written here by hand; digests and counts are those of the fold. `test_hostile_log` compares them all.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fastavro

from aggregator.fold.digest import partition_digest
from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.messages import fold_messages
from aggregator.replay.answer import of_state
from results.count import NothingCounted
from schemas.codec import WRITTEN, encode
from schemas.columns.decoder import Decoder
from schemas.columns.wire import long
from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import Code, Correction, CountUpdate, Document, PublishedPercentages
from schemas.errors import ContractError
from schemas.identity import name_text, text_of
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.types import CorrectionBasis, CountStatus, ReviewReason, UpdateKind, to_milliseconds
from schemas.unit_roll import RollUnit
from tests.support.strategies import (
    NIGHT,
    a_contest,
    a_heartbeat,
    a_revision,
    a_roll,
    a_source,
    a_source_status,
    a_unit,
    after,
    an_aggregator_status,
    an_ingest_status,
    an_update,
    corrected,
    counts,
    minute,
    sub_units,
)

FILE = Path(__file__).parents[1] / "unit" / "vectors" / "hostile_log.json"
HOSTILE, OTHER = "xx-2021-hostile", "xx-2021-other"
ABOUT = (
    "A small log, message by message: what is accepted of it, which rules are broken, and the state digest of the "
    "message's contest after it. How to read it: docs/contract.md, Vectors. Values are base64. Of the headers only "
    "schema_sha256 is given, the only one that a reader checks."
)


@dataclass(frozen=True, slots=True)
class Line:
    """A message of the log, and what a reader is to make of it."""

    what: str
    raw: RawRecord
    accepted: bool
    """False also of a message behind one that blocks its contest."""
    findings: tuple[str, ...] = ()
    """Codes, each once, sorted."""
    blocks: bool = False


@dataclass(slots=True)
class _Log:
    lines: list[Line] = field(default_factory=list)

    def put(self, what: str, message: Any, codes: str = "", *, accepted: bool = True, blocks: bool = False) -> Any:
        """Add an event, or a message as it is; a second apart. Returns it."""
        raw = message if isinstance(message, RawRecord) else message_of(message)
        at = to_milliseconds(NIGHT + timedelta(hours=5, seconds=len(self.lines)))
        raw = raw._replace(offset=len(self.lines), timestamp_ms=at)
        self.lines.append(Line(what, raw, accepted, tuple(sorted(codes.split())), blocks))
        return message

    def refuse(self, what: str, message: Any, codes: str) -> None:
        """Add one that is not accepted."""
        self.put(what, message, codes, accepted=False)


def message_of(event: Any, change: Callable[[dict[str, Any]], None] | None = None, **fields: Any) -> RawRecord:
    """The message of an event, written with its schema file alone; what `change` does to it nobody checks."""
    values = _with_lists(event.model_dump() | fields)
    if change is not None:
        change(values)
    schema, body = WRITTEN[type(event).__name__], io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema.avro), values)
    value, message = bytes(1) + schema.id.to_bytes(4, "big") + body.getvalue(), encode(event)
    assert fields or change or value == message.value, "it is written as our encoder writes it"
    return RawRecord(0, 0, to_milliseconds(NIGHT), message.key, value, list(message.headers))


def _with_lists(value: Any) -> Any:
    """A value without tuples, which fastavro takes for a branch of a union."""
    if isinstance(value, dict):
        return {name: _with_lists(one) for name, one in value.items()}
    return [_with_lists(one) for one in value] if isinstance(value, list | tuple) else value


def _replaced(raw: RawRecord, old: bytes, new: bytes) -> RawRecord:
    assert raw.value is not None
    assert raw.value.count(old) == 1, old
    return raw._replace(value=raw.value.replace(old, new))


def _votes(**votes: int) -> bytes:
    return b"".join(long(len(name)) + name.encode() + long(1) + long(number) for name, number in votes.items())


# The events


def _contest(**changes: Any) -> ContestDefined:
    fields: dict[str, Any] = {
        "contest_id": HOSTILE,
        "name": "A hostile night",
        "election_name": "Vectors",
        "authority": "The office",
        "registered_voters": 6_000,
        "expected_units": None,
        "selections": (_selection("ana", 1), _selection("ben", 2)),
        "areas": (_area("xx", "country", None), _area("north", "county"), _area("south", "county")),
        "counting_level": ("precinct", "county"),
        "later_counting_levels": (),
    }
    return a_contest(**(fields | changes))


def _selection(name: str, order: int) -> Selection:
    return Selection(
        selection_id=name, candidate=name.title(), party=name.upper(), ballot_order=order, external_id=None
    )


def _area(area_id: str, kind: str, parent: str | None = "xx", **changes: Any) -> Area:
    return Area(area_id=area_id, name=area_id.title(), type=kind, parent_id=parent, **changes)


def _sheet(number: int, votes: Any = None, **changes: Any) -> CountUpdate:
    """A counted sheet, of 300 voters, with 5 blank and 15 null votes, that says what `votes` says."""
    stated = {"ana": 100, "ben": 80} if votes is None else votes
    cast = sum(n or 0 for n in stated.values()) + 20
    figures = counts(stated, ballots_cast=cast, blank_votes=5, invalid_votes=15, registered_voters=300)
    fields: dict[str, Any] = {
        "contest_id": HOSTILE,
        "reporting_unit": _unit(number),
        "count_status": CountStatus.COUNTED,
        "counts": figures,
        "source": a_source(documents=(Document(name="s", sha256="ab" * 32, place=str(number)),), snapshot_id="1"),
    }
    return an_update(**(fields | changes))


def _unit(number: int, *path: str, **changes: Any) -> Any:
    unit = a_unit(f"{number:06d}", "precinct", path or ("xx", "north"))
    return unit.model_copy(update=changes)


def _retraction(update: CountUpdate, **changes: Any) -> CountUpdate:
    correction = Correction(
        reason="another sheet", basis=CorrectionBasis.OPERATOR, authority="desk", replaces_event_id=update.event_id
    )
    return after(update, kind=UpdateKind.RETRACTED, correction=correction, **changes)


def _listed(*numbers: int, area: str = "north", kind: str = "precinct") -> tuple[RollUnit, ...]:
    return tuple(RollUnit(type=kind, id=f"{n:06d}", area_id=area, registered_voters=300) for n in numbers)


def log() -> list[Line]:
    """The log."""
    at = _Log()
    put, refuse = at.put, at.refuse
    other = put("the definition of another contest, in the same partition", _contest(contest_id=OTHER))
    first = _contest()
    refuse("a statement before its contest is defined", _sheet(1, reported_at=None), "F405")
    silent = a_source_status(contest_id=HOSTILE)
    refuse("a source falls silent before its contest is defined", silent, "F405")
    put("the definition: sheets are precincts; counted are they and what counties state themselves", first)
    refuse("the same definition once more", first, "F401")
    put("a source falls silent: no figure changes, and no digest", silent)
    forged_silence = silent.model_copy(update={"since": minute(1)})
    refuse("a silence whose time was altered", forged_silence, "F404")
    _chains(put, refuse)
    put("a statement of the other contest", _sheet(1, contest_id=OTHER))
    _belonging(put, refuse)
    _statuses(put)
    _spelling(put)
    _levels(put)
    second = _revisions(first, put, refuse)
    _rolls(put, refuse)
    third = a_revision(second, counting_level=("precinct",), effective_at=minute(60))
    put("a third revision: counties are no longer added up", third)
    refuse("the second revision once more", second, "F401")
    refuse("the first revision of the third again, with another name", a_revision(second, name="Another"), "F401")
    unknown = message_of(_sheet(20))
    assert unknown.value is not None
    unknown = unknown._replace(value=bytes(4) + b"\x63" + unknown.value[5:], headers=[])
    put("a message whose schema nobody knows: the contest is blocked here", unknown, accepted=False, blocks=True)
    put("a good statement behind it", _sheet(21), accepted=False)
    put("the other contest goes on", a_revision(other, name="Another night"))
    return at.lines


def _chains(put: Any, refuse: Any) -> None:
    undated = put("a sheet; the office states no time", _sheet(1, reported_at=None))
    refuse("it once more", undated, "F402")
    right = after(undated, reported_at=None)
    refuse("a figure altered under the id of what was stated", message_of(right, _more_votes), "F404")
    second = after(undated, reported_at=None, observed_at=minute(5), previous_event_id=right.event_id)
    put("the next one, which names another event before it", second, "F403")
    fourth = after(second, sequence=4, observed_at=minute(6), counts=_sheet(1, {"ana": 101, "ben": 80}).counts)
    put("sequence 4 after 2", fourth, "F401")
    refuse("sequence 3 after 4", after(second, observed_at=minute(7)), "F401")
    refuse("sequence 1 once more: neither the unit's state nor its last", undated, "F401")


def _more_votes(values: dict[str, Any]) -> None:
    values["counts"]["votes"]["ana"] = 900


def _belonging(put: Any, refuse: Any) -> None:
    refuse("votes for a selection that the contest has not", _sheet(2, {"ana": 10, "zoe": 8}), "F301")
    refuse("an area that the contest has not", _sheet(2, reporting_unit=_unit(2, "xx", "west")), "F302")
    refuse("areas that do not contain each other", _sheet(2, reporting_unit=_unit(2, "north", "xx")), "F302")
    refuse("a test, in a contest that is none", _sheet(2, is_test=True), "F306")
    refuse("a county that is not defined", _sheet(2, reporting_unit=a_unit("west", "county", ("xx",))), "F303")
    refuse("stated for a time before the count began", _sheet(2, reported_at=NIGHT - timedelta(days=3)), "F304")
    ahead = timedelta(hours=24, milliseconds=1)
    seen = put("stated for a day and a millisecond after it was seen", _sheet(2, observed_at=NIGHT - ahead), "F305")
    several = _sheet(2, {"zoe": 9}, is_test=True, sequence=3, previous_event_id=_sheet(3).event_id)
    refuse("several rules are broken at once, of the chain too", several, "F301 F306 F401")
    ten = {"reported_at": NIGHT, "observed_at": NIGHT - timedelta(minutes=10)}
    state = put("stated for ten minutes after it was seen", after(seen, **ten), "F111")
    late = after(state, reported_at=NIGHT - timedelta(hours=1), counts=_sheet(2, {"ana": 1, "ben": 2}).counts)
    put("the next one, stated for an hour before: accepted, and not the unit's state", late, "F406")
    refuse("the unit's state once more", state, "F111 F402")
    put("the next one of the same time as the state: it takes its place", after(late, reported_at=NIGHT))


def _statuses(put: Any) -> None:
    contradicting = counts({"ana": 200, "ben": 100}, ballots_cast=100, registered_voters=300)
    review: dict[str, Any] = {"count_status": CountStatus.UNDER_REVIEW, "review_reason": ReviewReason.MATERIAL_ERROR}
    observed = put(
        "a sheet under review, whose figures contradict each other", _sheet(3, **review, counts=contradicting)
    )
    back = {
        "count_status": CountStatus.COUNTED,
        "review_reason": None,
        "counts": _sheet(3, {"ana": 90, "ben": 70}).counts,
    }
    put("it comes back counted", after(observed, **corrected(observed, "resolved"), **back))
    crowded = counts({"ana": 90, "ben": 80}, ballots_cast=100, blank_votes=0, invalid_votes=0, registered_voters=300)
    put("votes exceed the ballots together; valid votes are not stated", _sheet(30, counts=crowded), "F105")
    put("a counted sheet that does not state all", _sheet(4, counts=counts({"ana": 50, "ben": None})), "F109")
    put("contradictions that are published", _sheet(5, counts=_contradicting()), "F105 F106 F107 F108")
    together = _unit(6, counted_with="000001")
    put("a sheet that is counted with another", _sheet(6, counts=_voters(12), reporting_unit=together))
    put(
        "one that states ballots of its own",
        _sheet(7, counts=counts({}, ballots_cast=9), reporting_unit=_unit(7, counted_with="000001")),
        "F309",
        accepted=False,
    )
    annulled: dict[str, Any] = {"count_status": CountStatus.ANNULLED}
    zero = counts({"ana": 0, "ben": 0}, ballots_cast=90, invalid_votes=90, registered_voters=300)
    put("an annulled sheet", _sheet(7, counts=zero, **annulled))
    put("an annulled sheet with votes", _sheet(8, **annulled), "F110")
    put("a sheet in process", _sheet(9, count_status=CountStatus.IN_PROCESS))
    put("a lost sheet", _sheet(10, count_status=CountStatus.LOST))
    put("a table that was not installed", _sheet(11, count_status=CountStatus.NOT_INSTALLED, counts=_voters(250)))
    put("a pending sheet without figures", _sheet(12, count_status=CountStatus.PENDING, counts=None))
    put("one selection stood on these ballots alone", _sheet(13, {"ana": 40}))
    held = counts({"ana": 3, "ben": None}, ballots_cast=5, registered_voters=8)
    put("figures that the office holds back", _sheet(14, counts=held.model_copy(update={"suppressed": ("votes.ben",)})))
    signed: dict[str, Any] = {"signed_at": NIGHT, "registered_at": NIGHT - timedelta(minutes=6)}
    put("signed six minutes after it was registered", _sheet(15, **signed), "F114")


def _contradicting() -> Any:
    return counts({"ana": 500, "ben": 1}, ballots_cast=400, valid_votes=400, blank_votes=1, invalid_votes=1).model_copy(
        update={"registered_voters": 300}
    )


def _voters(number: int) -> Any:
    return counts({}, registered_voters=number)


def _spelling(put: Any) -> None:
    twice, written = _sheet(16, {"ana": 7, "ben": 3}), _votes(ana=7, ben=3)
    again = long(3) + _votes(ana=900, ben=3) + _votes(ana=7)
    put("a map that names a key twice: the last one stands", _replaced(message_of(twice), long(2) + written, again))
    sized = long(-2) + long(len(written)) + written
    put(
        "a map whose block states its size",
        _replaced(message_of(_sheet(17, {"ana": 7, "ben": 3})), long(2) + written, sized),
    )
    blocks = long(1) + _votes(ben=3) + long(1) + _votes(ana=7)
    put(
        "a map in two blocks, in another order",
        _replaced(message_of(_sheet(18, {"ana": 7, "ben": 3})), long(2) + written, blocks),
    )
    later = _sheet(19)

    def symbol(values: dict[str, Any]) -> None:
        values["result_stage"] = "UNKNOWN"
        text = json.loads(text_of(later)) | {"result_stage": "UNKNOWN"}
        values["event_id"] = str(name_text(json.dumps(text, sort_keys=True, separators=(",", ":")).encode()))

    put("a stage that only a later release knows", message_of(later, symbol), "F116")


def _levels(put: Any) -> None:
    own = counts({"ana": 30, "ben": 20}, ballots_cast=52, blank_votes=1, invalid_votes=1, registered_voters=77)
    put(
        "what a county states itself, as votes by post: it adds to the county",
        _sheet(0, counts=own, **_about("north", "county")),
    )
    office = sub_units(total=30, processed=9, counted=7, under_review=1, under_review_by_reason={"ILLEGIBLE": 2})
    said: dict[str, Any] = {"counts": counts({"ana": 1_000, "ben": 900}, ballots_cast=2_000), "sub_units": office}
    published = PublishedPercentages(
        valid_votes_share={"ana": "52.632"}, sub_units_processed="30.000", sub_units_counted=None, turnout=None
    )
    country = _sheet(0, **_about("xx", "country", ()), **said, published_percentages=published)
    put("what the office states about the whole: kept beside the sum", country, "F101 F104")
    ward = a_unit("9", "ward", ("xx", "north"))
    put("a unit of a type that is added up nowhere", _sheet(0, reporting_unit=ward), "F118")
    taken_back = _sheet(8, count_status=CountStatus.ANNULLED)
    put("the annulled sheet with votes is taken back", _retraction(taken_back), "F110")


def _about(area: str, kind: str, path: tuple[str, ...] = ("xx",)) -> dict[str, Any]:
    return {"reporting_unit": a_unit(area, kind, path)}


def _revisions(first: ContestDefined, put: Any, refuse: Any) -> ContestDefined:
    areas = (
        *first.areas[:2],
        _area("south", "county", ends_at=minute(120), replaced_by=("east",)),
        _area("east", "county"),
    )
    selections = (*first.selections, _selection("cyd", 3))
    second = a_revision(first, areas=areas, selections=selections, effective_at=minute(30))
    refuse("a revision that names another one before it", a_revision(first, previous_event_id=second.event_id), "F403")
    swapped = (_selection("ana", 2), _selection("ben", 1))
    refuse("a revision that turns the selections around", a_revision(first, selections=swapped), "F301")
    refuse("a revision without an area", a_revision(first, areas=first.areas[:2]), "F302")
    moved = (*first.areas[:2], _area("south", "county", "north"))
    refuse("a revision that moves an area", a_revision(first, areas=moved, counting_level=("precinct",)), "F302")
    refuse("a revision with other types of sheets", a_revision(first, sheet_types=("precinct",)), "F302")
    refuse("a revision that lets sheets in process count", a_revision(first, partial_sheets_count=True), "F302")
    refuse("a revision with two votes on a ballot", a_revision(first, votes_allowed=2), "F302")
    refuse("revision 3 after 1", a_revision(second), "F401")
    refuse("a name altered under the id of the revision", message_of(second, name="Altered"), "F404")
    put("a second revision: a selection more, and an area that ends", second)
    south = _sheet(20, reporting_unit=_unit(20, "xx", "south"), reported_at=minute(120))
    refuse("stated in the area for the time of its end", south, "F308")
    put("a millisecond before", after(south, sequence=1, previous_event_id=None, reported_at=minute(120) - _MS))
    votes = {"ana": 5, "ben": 6, "cyd": 7}
    put("votes for the new selection, in the new area", _sheet(21, votes, reporting_unit=_unit(21, "xx", "east")))
    put("votes that name no selection say nothing of votes", _sheet(22, counts=counts({}, ballots_cast=70)), "F109")
    return second


_MS = timedelta(milliseconds=1)


def _rolls(put: Any, refuse: Any) -> None:
    fields: dict[str, Any] = {"contest_id": HOSTILE, "parts": 2, "units": _listed(*range(1, 11))}
    first = a_roll(**fields)
    put("the first part of a roll of two", first)
    stray = put("a sheet that will not be on it: half a roll is none", _sheet(99))
    refuse("the first part once more", first, "F401")
    fields |= {"part": 2, "previous_event_id": first.event_id}
    rest = (*_listed(*range(11, 20), 22, 23, 24), *_listed(20, area="south"), *_listed(21, 25, area="east"))
    second = a_roll(**(fields | {"units": rest}))
    refuse(
        "a sheet in an area that the contest has not", a_roll(**(fields | {"units": _listed(31, area="west")})), "F302"
    )
    refuse("what is no sheet", a_roll(**(fields | {"units": _listed(31, kind="ward")})), "F303")
    refuse("a sheet of the first part again", a_roll(**(fields | {"units": _listed(31, 10)})), "F402")
    follows = {"units": rest, "previous_event_id": second.event_id}
    refuse("a part that names another one before it", a_roll(**(fields | follows)), "F403")
    refuse("the next part, of another number of parts", a_roll(**(fields | {"units": rest, "parts": 3})), "F403")
    refuse("voters altered under the id of the part", message_of(second, _more_voters), "F404")
    put("the second part: the roll holds from here on, with three sheets that nobody has stated", second)
    refuse("a sheet that is not on the roll", _sheet(98), "F307")
    refuse("the next of one that was counted before the roll", after(stray), "F307")
    put("that one is taken back", _retraction(stray))
    put("the first part of a second roll, whose other parts never come", a_roll(
        contest_id=HOSTILE, revision=2, parts=3, previous_event_id=second.event_id, units=_listed(1)
    ))  # fmt: skip
    put("a sheet that only the roll in force has", _sheet(23, {"ana": 8, "ben": 9, "cyd": 1}))


def _more_voters(values: dict[str, Any]) -> None:
    values["units"][0]["registered_voters"] = 301


# Messages that no reader takes for an event


def refused() -> list[tuple[str, RawRecord]]:
    """Messages, each of which blocks its contest: no Avro of their schema, or a rule of the models is broken."""
    return [*_framed(), *_updates(), *_definitions(), *_parts_of_rolls()]


def _framed() -> Iterable[tuple[str, RawRecord]]:
    good = message_of(_sheet(1, source_status="counted: ooo"))
    value = good.value or b""
    other = [(name, b"0" * 64 if name == "schema_sha256" else content) for name, content in good.headers]
    null: list[tuple[str, bytes | None]] = [(n, None if n == "schema_sha256" else c) for n, c in good.headers]
    previous = message_of(after(_sheet(1)))
    old = str(_sheet(1).event_id).encode()
    yield "no value", good._replace(value=None)
    yield "four bytes", good._replace(value=value[:4])
    yield "another first byte", good._replace(value=b"\1" + value[1:])
    yield "a byte left over", good._replace(value=value + b"\0")
    yield "a byte too few", good._replace(value=value[:-1])
    yield "the key of another contest", good._replace(key=OTHER.encode())
    yield "a header that names another schema", good._replace(headers=other)
    yield "a header that names no schema", good._replace(headers=null)
    yield "a heartbeat", message_of(a_heartbeat(contest_id=HOSTILE))
    yield "a sign of life", message_of(an_ingest_status(contest_id=HOSTILE))
    yield "a sign of life of the aggregator", message_of(an_aggregator_status(contest_id=HOSTILE))
    yield "a lone surrogate", _replaced(good, b"ooo", "\ud800".encode("utf-8", "surrogatepass"))
    yield "a text that is not UTF-8", _replaced(good, b"ooo", b"o\xffo")
    yield "a UUID in capitals", _replaced(previous, old, old.upper())
    yield "a UUID without hyphens", _replaced(previous, long(36) + old, long(32) + old.replace(b"-", b""))
    yield "a symbol behind the last", _with_kind(good, 0, 4)
    yield "a symbol before the first", _with_kind(good, 0, -1)
    yield "a branch before the first", _with_kind(good, -1, -2)
    yield "a boolean of 2", good._replace(value=value[:-5] + b"\2" + value[-4:])
    yield "a number of 65 bits", _with_kind(good, -2, 2**64 + 1)
    yield "a number of eleven bytes", _with_kind(good, -2, 2**70)


def _with_kind(good: RawRecord, beside: int, code: int) -> RawRecord:
    """`kind` stands behind the sequence, which is 1, and the event before, which is null."""
    value, path = good.value or b"", b"\4\4xx\nnorth\0\0\0\0"
    assert value.count(path) == 1
    at = value.index(path) + len(path) + 2 + beside
    return good._replace(value=value[:at] + long(code) + value[at + 1 :])


Change = Mapping[str, Any]


def _put_in(change: Change, values: dict[str, Any]) -> None:
    values.update(change)


def _updates() -> Iterable[tuple[str, RawRecord]]:
    good = _sheet(1)

    def of(what: str, *path: str | int, to: Any) -> tuple[str, RawRecord]:
        def change(values: dict[str, Any]) -> None:
            at: Any = values
            for name in path[:-1]:
                at = at[name]
            at[path[-1]] = to

        return what, message_of(good, change)

    for what, unit_id in (
        ("an id with a space before it", " 1"), ("an id with two spaces in it", "1  2"),
        ("an id with a no-break space", "1\u00a02"), ("an id that is not NFC", "n\u0303"),
        ("an id with a character of no width", "1\u200b2"), ("an id with an end of line", "1\n2"),
        ("an id with an unassigned code point", "1\u0378"), ("an empty id", ""), ("an id of 201 characters", "1" * 201),
    ):  # fmt: skip
        yield of(what, "reporting_unit", "id", to=unit_id)
    for what, name in (
        ("a type that NIST has not", "mesa"), ("other: without a word", "other:"), ("a type with a slash", "other:a/b"),
        ("a type that looks like a level", "other:a + b"),
    ):  # fmt: skip
        yield of(what, "reporting_unit", "type", to=name)
    yield of("17 areas", "reporting_unit", "area_path", to=[f"a{n}" for n in range(17)])
    for what, key in (("a key with a space", "an a"), ("an empty key", ""), ("a key that is not ASCII", "aña")):
        yield of(what, "counts", "votes", to={key: 1})
    yield of("a key of 201 characters", "counts", "votes", to={"a" * 201: 1})
    yield of("a negative figure", "counts", "ballots_cast", to=-1)
    yield of("a figure of 2^40", "counts", "ballots_cast", to=2**40)
    yield of("votes whose sum is 2^40", "counts", "votes", to={"ana": 2**39, "ben": 2**39})
    yield of("sequence 0", "sequence", to=0)
    yield of("sequence 2^53", "sequence", to=2**53)
    yield of("sequence 2 after no event", "sequence", to=2)
    yield of("sequence 1 after an event", "previous_event_id", to=str(good.event_id))
    correction = {"reason": "r", "basis": "INFERRED", "authority": "a", "replaces_event_id": str(good.event_id)}
    yield of("a correction that is REPORTED", "correction", to=correction)
    yield of("CORRECTED without a correction", "kind", to="CORRECTED")
    yield of("replaced_by of what is not taken back", "replaced_by", to=["2"])
    yield of("recount 0", "recount", to=0)
    yield of("a time of the year 1", "observed_at", to=-62_135_596_800_000)
    yield of("a time of the year 9999", "reported_at", to=253_370_764_800_000)
    yield of("stated for another time than the office's", "stated_at", to=0)
    yield of("a time that no calendar has", "signed_at", to=2**62)
    yield of("part 0", "source", "part", to=0)
    yield of("a hash in capitals", "source", "documents", 0, "sha256", to="AB" * 32)
    yield of("a hash of two characters", "source", "documents", 0, "sha256", to="ab")
    yield of("a text with NUL", "office_note", to="a\0b")
    yield of("an empty word for a vote type", "counts", "by_vote_type", to=[_vote_type("")])
    for share in ("1000", "1.", "-1", "1e1", ""):
        text = {
            "valid_votes_share": {"ana": share},
            "sub_units_processed": None,
            "sub_units_counted": None,
            "turnout": None,
        }
        yield of(f"a percentage {share!r}", "published_percentages", to=text)
    for name in ("ballots_cast", "votes.ana", "votes.zoe", "registered"):
        yield of(f"{name} as held back, and it is stated, or is no figure", "counts", "suppressed", to=[name])
    codes = [{"registry": "INEI", "value": "1"}, {"registry": "INEI", "value": "2"}]
    yield of("two codes of one register", "reporting_unit", "codes", to=codes)
    yield of("a code with an end of line", "reporting_unit", "codes", to=[{"registry": "INEI", "value": "1\n"}])


def _vote_type(name: str) -> dict[str, Any]:
    figures = ("ballots_cast", "blank_votes", "invalid_votes", "undervotes", "overvotes")
    return {"vote_type": "EARLY", "name": name, "votes": {}} | dict.fromkeys(figures)


def _definitions() -> Iterable[tuple[str, RawRecord]]:
    good = _contest(areas=(_area("xx", "country", None), _area("north", "county"), _area("n1", "city", "north")))
    event_id, ana = str(good.event_id), good.selections[0].model_dump()
    top, north, n1 = (area.model_dump() for area in good.areas)
    deep = [_area(f"a{n}", "ward", f"a{n - 1}" if n else None).model_dump() for n in range(17)]
    codes = [Code(registry="r", value=value).model_dump() for value in "12"]
    changes: Sequence[tuple[str, Change]] = [
        ("revision 1 after an event", {"previous_event_id": event_id}),
        ("revision 2 after none", {"revision": 2}),
        ("a day of a week", {"election_date": "2021-W22-7"}),
        ("a day without hyphens", {"election_date": "20210606"}),
        ("a day that is none", {"election_date": "2021-06-31"}),
        ("a time zone that is none", {"time_zone": "Mars/Olympus"}),
        ("a name with an end of line", {"name": "a\nb"}),
        ("an empty name", {"election_name": ""}),
        ("no votes allowed", {"votes_allowed": 0}),
        ("1,001 votes allowed", {"votes_allowed": 1_001}),
        ("none elected", {"number_elected": 0}),
        ("a selection twice", {"selections": [ana, ana]}),
        ("ballot order 0", {"selections": [ana | {"ballot_order": 0}]}),
        ("ballot order 2^31", {"selections": [ana | {"ballot_order": 2**31}]}),
        ("below a list that is no selection", {"selections": [ana | {"list_id": "list"}]}),
        ("an area twice", {"areas": [top, north, north]}),
        ("no outermost area", {"areas": []}),
        ("two outermost areas", {"areas": [top, north | {"parent_id": None}]}),
        ("a parent that is no area", {"areas": [top, n1]}),
        ("areas that contain each other", {"areas": [top, north | {"parent_id": "n1"}, n1]}),
        ("17 areas within each other", {"areas": deep}),
        ("replaced, and does not end", {"areas": [top, north, n1 | {"replaced_by": ["north"]}]}),
        ("replaced by itself", {"areas": [top, north, n1 | {"replaced_by": ["n1"], "ends_at": NIGHT}]}),
        ("replaced by what is no area", {"areas": [top, north, n1 | {"replaced_by": ["n2"], "ends_at": NIGHT}]}),
        ("two codes of one register", {"areas": [top | {"codes": codes}]}),
        ("a level of no type", {"counting_level": []}),
        ("a later level of no type", {"later_counting_levels": [[]]}),
        ("a level that names a type twice", {"counting_level": ["precinct", "precinct"]}),
        ("an area within one of its type, which is added up", {"areas": [top, north, n1 | {"type": "county"}]}),
        ("areas within each other that are added up together", {"later_counting_levels": [["county", "city"]]}),
        ("a share of sheets that is no number", {"leader_from_percent": "half"}),
        ("expected sheets below 0", {"expected_units": -1}),
    ]  # fmt: skip
    for what, change in changes:
        yield f"a definition: {what}", message_of(good, partial(_put_in, change))


def _parts_of_rolls() -> Iterable[tuple[str, RawRecord]]:
    good = a_roll(contest_id=HOSTILE, units=_listed(1))
    unit = good.units[0].model_dump()
    changes: Sequence[tuple[str, Change]] = [
        ("part 2 of 1", {"part": 2, "previous_event_id": str(good.event_id)}),
        ("part 0", {"part": 0}),
        ("the first part after an event", {"previous_event_id": str(good.event_id)}),
        ("part 2 after no event", {"part": 2, "parts": 2}),
        ("a hash of 63 characters", {"document_sha256": "a" * 63}),
        ("voters below 0", {"units": [unit | {"registered_voters": -1}]}),
        ("a unit of a type that NIST has not", {"units": [unit | {"type": "mesa"}]}),
    ]
    for what, change in changes:
        yield f"a roll: {what}", message_of(good, partial(_put_in, change))


# What the fold makes of it


def steps_of(
    lines: Sequence[Line], contest_id: str, *, area_id: str | None = None
) -> Iterable[tuple[ContestState, Line, Any]]:
    """Fold a contest's messages up to the one that blocks it. Yields the state after each with what it did."""
    state = ContestState(area_id=area_id)
    decoder, own = Decoder(contest_id, state.index), [line for line in lines if line.raw.key == contest_id.encode()]
    for line in own:
        done: list[Folded | Defined] = []
        stop = fold_messages(state, decoder, [line.raw], done.append, in_blocks=True)
        yield state, line, done[0] if stop is None else stop.reason
        if stop is not None:
            return


def vector_of(raw: RawRecord) -> dict[str, Any]:
    """A message as the file has it."""

    def in_ascii(text: bytes | None) -> str | None:
        return None if text is None else text.decode()

    checked = {name: in_ascii(content) for name, content in raw.headers if name == "schema_sha256"}
    value = None if raw.value is None else b64encode(raw.value).decode()
    return {"key": in_ascii(raw.key), "headers": checked, "value": value}


def written() -> str:
    """The file, from the log above and the fold."""
    lines = log()
    digests: dict[int, str] = {}
    for contest_id in (HOSTILE, OTHER):
        for state, line, done in steps_of(lines, contest_id):
            if isinstance(done, str):
                break
            if state.definition is not None:
                digests[line.raw.offset] = state.root()
    events = [
        {"offset": line.raw.offset, "what": line.what, "recorded_at_ms": line.raw.timestamp_ms, **vector_of(line.raw)}
        | {"accepted": line.accepted, "findings": list(line.findings), "blocks": line.blocks}
        | {"digest": digests.get(line.raw.offset)}
        for line in lines
    ]
    last = {
        line.raw.key.decode(): digests[line.raw.offset] for line in lines if line.raw.key and line.raw.offset in digests
    }
    refusals = [{"what": what, **vector_of(raw), "reason": reason_of(raw)} for what, raw in refused()]
    parts = [
        f'"about": {json.dumps(ABOUT)}',
        f'"log": [\n{_rows(events)}\n]',
        f'"cursor": "{partition_digest(last)}"',
        f'"counts": {json.dumps(_counts(lines), indent=1, ensure_ascii=False)}',
        f'"refused": [\n{_rows(refusals)}\n]',
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


COUNTED_AT = ("a sheet that only the roll in force has", "the first revision of the third again, with another name")
"""The last message but one definition, and the last before the one that blocks the contest."""


def _counts(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """The count of every area at these offsets, as `replay --json` gives it; null where there is none."""
    found: dict[str, dict[str, Any]] = {}
    for area_id in ("xx", "north", "south", "east"):
        for state, line, _ in steps_of(lines, HOSTILE, area_id=area_id):
            if line.what in COUNTED_AT:
                of = found.setdefault(str(line.raw.offset), {})
                try:
                    of[area_id] = of_state(state, state.root()).model_dump(mode="json", exclude=_NOT_OF_THE_COUNT)
                except NothingCounted:
                    of[area_id] = None
    return found


_NOT_OF_THE_COUNT = {"moment", "findings", "not_accepted", "log"}


def reason_of(raw: RawRecord) -> str:
    """Why a message is no event, in our words. Raises AssertionError where it is one."""
    try:
        recorded_of_raw(raw)
    except ContractError as error:
        return str(error)
    raise AssertionError("it is an event")


def _rows(values: Iterable[Mapping[str, Any]]) -> str:
    return ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
