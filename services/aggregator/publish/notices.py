"""Make the events of `results.notices`: what a newsroom would report, with the events behind it (pure).

A publication of the office is one statement of many units: what is said of it is said once, at its end, of the state
there and that at the end of the one before. Both follow from the log alone, so a replay makes the same notices. A
publication ends where the next begins, or with a pause (`PAUSE_MS`). Notices are of the whole contest and the areas
directly in it; the counts of all others are on `results.totals`.

After a definition, or a part of a roll, nothing is compared: a moved level is another sum, and no fall.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.unit_table import NO_GROUP
from aggregator.publish.area_counts import changed
from results.changes import changed_words
from results.count import Around, AsOf, Count, OnRoll, computed, percent
from results.names import short_names
from schemas.area_count import Cause
from schemas.columns.layout import KINDS, Mask
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.wire import NO_TIME
from schemas.contest import Area, ContestDefined, in_words
from schemas.count_update import PAUSE_MS
from schemas.identity import NIL, named
from schemas.log_record import RawRecord
from schemas.notice import Notice, NoticeKind
from schemas.source_status import SourceState, SourceStatus
from schemas.types import TEXT_LIMIT, CorrectionBasis, ResultStage, UpdateKind, from_milliseconds

THRESHOLDS = (10, 25, 50, 75, 90, 95, 99)
"""Percent of the expected tally sheets whose being counted is told, of the whole contest."""
SHOWN = 20
"""Events that are named of those behind a notice."""
_NAMED = 10
"""Selections that are named in a sentence: those with the most votes. A notice has the votes of all."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An area at the end of a publication. `figures`: those of a change, by name."""

    votes: dict[str, int | None]
    leader: str | None
    lead: int | None
    is_withheld: bool
    counted: int | None
    expected: int | None
    figures: dict[str, int]

    @classmethod
    def of(cls, count: Count) -> "Standing":
        """Return it from a count."""
        figures = {f"votes.{s.selection_id}": s.votes for s in count.selections}
        figures |= {name: getattr(count, name) for name in _BALLOTS}
        figures |= {name: count.sub_units[name] for name in _SHEETS}
        figures |= {f"under_review.{reason}": n for reason, n in count.under_review_by_reason.items()}
        return cls(
            votes={s.selection_id: s.votes for s in count.selections},
            leader=count.leader,
            lead=count.lead,
            is_withheld=count.lead_is_withheld,
            counted=count.progress.counted,
            expected=count.progress.expected,
            figures={name: value for name, value in figures.items() if value is not None},
        )

    @property
    def has_results(self) -> bool:
        """Whether a vote is counted."""
        return any(self.votes.values())

    @property
    def percent(self) -> str | None:
        """The counted sheets of those that are expected."""
        return percent(self.counted, self.expected)

    def reaches(self, percent: int) -> bool:
        """Say whether so much is counted: in whole numbers, since 99.9996 % is printed as 100."""
        return self.counted is not None and bool(self.expected) and self.counted * 100 >= percent * (self.expected or 0)


@dataclass(slots=True)
class _Events:
    """Events behind a notice: the first of them, and how many they are."""

    first: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0

    def add(self, events: Iterable[dict[str, Any]], number: int) -> None:
        room = SHOWN - len(self.first)
        self.first += [event for event, _ in zip(events, range(room), strict=False)]
        self.total += number


@dataclass(slots=True)
class _Open:
    """The publication that has not ended yet."""

    name: str
    stated: int = NO_TIME
    recorded: int = NO_TIME
    """The broker's time of its last statement."""
    events: dict[str, _Events] = field(default_factory=dict)
    """By the id of the area; of the whole contest by kind."""
    fell: dict[str, _Events] = field(default_factory=dict)
    """Those by which an area lost votes, by its id."""
    set_right: dict[str, int] = field(default_factory=dict)
    """How many corrections and retractions an area has, by `KIND/AREA`."""
    is_silent: bool = False
    """Whether its beginning was not seen: nothing is said of it."""


class NoticeMaker:
    """Follows the fold of one contest, and makes its notices. What it knows is small, and is kept (`as_json`)."""

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        """`known`: of `as_json`; None: it follows the contest from its first event on."""
        known = known or {}
        self.made: list[Notice] = []
        """Notices since they were taken last."""
        self._standings = {area: Standing(**of) for area, of in known.get("standings", {}).items()}
        self._open = _opened(known.get("open"))
        self._is_final: bool = known.get("is_final", False)
        self._level: str | None = known.get("level")
        self._offset: int = known.get("offset", -1)
        self._rolls: tuple[Any, dict[str, tuple[int, int | None]]] = (None, {})

    @classmethod
    def begun(cls, state: ContestState, last: StatementBatch | None) -> "NoticeMaker":
        """Begin with a contest that had events before: one notice says how it stands.

        `last`: its last statements, whose publication may go on: of that one nothing is said.
        """
        maker = cls()
        maker._pass(state)
        maker._stand_again(state)
        if last is not None:
            maker._open = _Open(snapshot_of(last), recorded=int(last.recorded[-1]), is_silent=True)
        if state.definition is not None and state.last is not None:
            root = state.contest.root
            standing = maker._standings.get(root.area_id)
            maker._say(
                state, NoticeKind.BEGINS_HERE, f"Notices of {state.contest.name} begin here. {_how(state, standing)}",
                root, standing, is_operational=True,
            )  # fmt: skip
        return maker

    def as_json(self) -> dict[str, Any]:
        """Return what is known, as JSON: a maker that begins with it goes on as this one.

        `offset`: of the last event that it has seen; it knows nothing of a contest that is elsewhere.
        """
        opened = asdict(self._open) if self._open is not None else None
        standings = {  # nobody changes one: `asdict` would copy every figure
            area: {name: getattr(of, name) for name in Standing.__slots__} for area, of in self._standings.items()
        }
        known = {"offset": self._offset, "is_final": self._is_final, "level": self._level}
        return known | {"standings": standings, "open": opened}

    def take(self) -> list[Notice]:
        """Return the notices that were made since, and forget them."""
        made, self.made = self.made, []
        return made

    def before(self, state: ContestState, batch: StatementBatch | None) -> None:
        """Note what is folded next: statements of one publication without a pause; None: no statement."""
        if (done := self._open) is None:
            return
        if batch is None or done.name != snapshot_of(batch) or int(batch.recorded[0]) - done.recorded > PAUSE_MS:
            self.end(state)

    def step(self, state: ContestState, step: Folded | Defined) -> None:
        """Note what a step of the fold did: a definition, or statements of one publication."""
        self._pass(state)
        if isinstance(step, Defined):
            self._defined(state, step)
            return
        if state.definition is None:  # nothing of it is accepted
            return
        if self._open is None:
            self._open = _Open(snapshot_of(step.batch))
        self._open.recorded = int(step.batch.recorded[-1])
        self._collect(state, step, self._open)

    @property
    def is_open(self) -> bool:
        """Whether a publication has not ended."""
        return self._open is not None

    def has_paused(self, recorded: int) -> bool:
        """Say whether a publication is open that is over by the broker's time, though nothing of the contest came."""
        return self._open is not None and recorded - self._open.recorded > PAUSE_MS

    def _pass(self, state: ContestState) -> None:
        assert state.last is not None
        self._offset = state.last.offset

    def blocked(self, state: ContestState, raw: RawRecord, reason: str) -> None:
        """Note that the contest stands still from a message on."""
        if state.definition is None:
            return
        self.end(state)
        self._say(
            state, NoticeKind.BLOCKED,
            f"The count stands still at offset {raw.offset}: {reason}. Nothing after it is counted.",
            at=raw,
        )  # fmt: skip

    def _defined(self, state: ContestState, step: Defined) -> None:
        event = step.recorded.event
        if not step.accepted:
            return
        cause = dict.fromkeys(Cause.model_fields) | {"event_id": event.event_id, "offset": step.recorded.offset}
        events = _Events([cause], 1)
        if isinstance(event, SourceStatus):
            kind, words = _OF_SOURCE.get(event.state, (None, ""))
            if kind is not None:
                why = f": {event.reason}" if event.reason is not None else ""
                self._say(state, kind, f"{words}{why}", events=events, stated=event.since)
            return
        level, before = in_words(state.contest.counting_level), self._level
        self._stand_again(state)
        if before is not None and level != before:
            root = state.contest.root
            standing = self._standings.get(root.area_id)
            words = f"Added up are the figures of every {level} now, before of every {before}. {_how(state, standing)}"
            self._say(state, NoticeKind.LEVEL_MOVED, words, root, standing, events=events)

    def _stand_again(self, state: ContestState) -> None:
        """Take the state as it is for what the next one is compared with."""
        self._level, self._is_final = in_words(state.contest.counting_level), _is_proclaimed(state)
        self._standings = self._standing(state, _areas(state.contest))

    def _collect(self, state: ContestState, step: Folded, to: _Open) -> None:
        """Collect the events of a publication, by area and by kind."""
        batch, accepted = step.batch, step.accepted
        to.stated = max(to.stated, int(batch.stated.max()))
        of_kind = {kind: accepted & (batch.kind == KINDS.index(UpdateKind(kind))) for kind in _SET_RIGHT}
        for kind, chosen in of_kind.items():
            _add(to.events, kind, step, chosen)
        votes = [state.layout.slots[f"votes.{selection}"] for selection in state.layout.selections]
        lost = (step.change[:, votes] < 0).any(axis=1)
        found = np.setdiff1d(np.union1d(batch.group, step.left), [NO_GROUP]).tolist()
        groups = {group: set(batch.index.groups[group][1]) for group in found}
        for area in _areas(state.contest):
            if of := [group for group, areas in groups.items() if area.area_id in areas]:
                chosen = np.zeros(len(batch.index.groups) + 1, bool)  # the last is that of NO_GROUP
                chosen[of] = True
                is_in, was_in = accepted & chosen[batch.group], chosen[step.left]
                _add(to.events, area.area_id, step, is_in | was_in)
                _add(to.fell, area.area_id, step, (is_in & lost) | (was_in & ~is_in))
                for kind, right in of_kind.items():
                    name = f"{kind}/{area.area_id}"
                    to.set_right[name] = to.set_right.get(name, 0) + int((is_in & right).sum())

    def end(self, state: ContestState) -> None:
        """Say what the publication that ends here changed."""
        if (done := self._open) is None:
            return
        self._open = None
        if done.is_silent:
            self._stand_again(state)
            return
        areas = [area for area in _areas(state.contest) if area.area_id in done.events]
        standings = self._standing(state, areas)
        for kind in _SET_RIGHT:
            if (events := done.events.get(kind)) is not None:
                inner = [a for a in areas if a.parent_id and done.set_right.get(f"{kind}/{a.area_id}") == events.total]
                area = inner[0] if inner else None
                words = _set_right(kind, events, area)
                now = standings.get(area.area_id) if area is not None else None
                self._say(state, NoticeKind(kind), words, area, now, events=events, of=done)
        for area in areas:
            before, events = self._standings.pop(area.area_id, None), done.events[area.area_id]
            if (now := standings.get(area.area_id)) is None:
                continue
            self._standings[area.area_id] = now
            is_root = area is state.contest.root
            for kind, words, threshold in _news(state.contest, area, before, now, is_root=is_root):
                behind = done.fell.get(area.area_id, events) if kind is NoticeKind.FELL else events
                self._say(state, kind, words, area, now, before, behind, percent=threshold, of=done)
        was_final, self._is_final = self._is_final, _is_proclaimed(state)
        if self._is_final and not was_final:
            root = state.contest.root
            standing = self._standings.get(root.area_id)
            words = f"The result of {state.contest.name} is proclaimed. {_how(state, standing)}"
            self._say(state, NoticeKind.FINAL, words, root, standing, events=done.events[root.area_id], of=done)

    def _standing(self, state: ContestState, areas: Sequence[Area]) -> dict[str, Standing]:
        """Return how areas stand, by their ids; without those of which nothing is added up."""
        contest, last = state.contest, state.last
        assert last is not None
        if state.roll.holds and self._rolls[0] != (by := (state.roll.leaf, contest.sheets_expected)):
            self._rolls = by, state.roll.units_of(contest.sheets_expected)
        known = Around.of(None, state.total(contest.root.area_id)).known_in_all
        as_of = AsOf(offset=last.offset, recorded_at=from_milliseconds(last.recorded), reported_at=None)
        found = {}
        for area in areas:
            if (total := state.total(area.area_id)) is not None:
                roll = OnRoll(*self._rolls[1].get(area.area_id, (0, 0))) if state.roll.holds else None
                count = computed(contest, area, total, [], as_of, None, Around(roll, known))
                found[area.area_id] = Standing.of(count)
        return found

    def _say(
        self, state: ContestState, kind: NoticeKind, sentence: str, area: Area | None = None,
        now: Standing | None = None, before: Standing | None = None, events: _Events | None = None, *,
        of: _Open | None = None, stated: datetime | None = None, percent: str | None = None,
        is_operational: bool = False, at: RawRecord | None = None,
    ) -> None:  # fmt: skip
        contest, last = state.contest, state.last
        assert last is not None
        events = events or _Events()
        change = changed(before.figures, now.figures) if before is not None and now is not None else {}
        self.made.append(
            named(
                Notice(
                    event_id=NIL,
                    contest_id=contest.contest_id,
                    kind=kind,
                    is_operational=is_operational,
                    is_test=contest.is_test,
                    area_id=area.area_id if area is not None else None,
                    area_name=area.name if area is not None else None,
                    as_of_offset=last.offset if at is None else at.offset,
                    recorded_at=from_milliseconds(last.recorded) if at is None else at.recorded_at,
                    stated_at=from_milliseconds(of.stated) if of is not None else stated,
                    snapshot_id=of.name if of is not None else None,
                    sentence=sentence if len(sentence) <= TEXT_LIMIT else f"{sentence[: TEXT_LIMIT - 1]}…",
                    percent=percent,
                    leader=now.leader if now is not None else None,
                    lead=now.lead if now is not None else None,
                    leader_before=before.leader if before is not None else None,
                    lead_before=before.lead if before is not None else None,
                    votes=now.votes if now is not None else {},
                    counted=now.counted if now is not None else None,
                    percent_counted=now.percent if now is not None else None,
                    change=change,
                    events=tuple(Cause.model_validate(event, strict=False) for event in events.first),
                    events_total=events.total,
                )
            )
        )


_SET_RIGHT = (UpdateKind.CORRECTED.value, UpdateKind.RETRACTED.value)
"""Kinds of updates, and of the notices about them."""


def operational(kind: NoticeKind, sentence: str, of: Mapping[str, Any]) -> Notice:
    """Make a notice about us. `of`: the contest's row; the sentence has a time, else two of them would be the same."""
    fields = dict.fromkeys(Notice.model_fields) | {
        "event_id": NIL,
        "contest_id": of["contest_id"],
        "kind": kind,
        "is_operational": True,
        "is_test": of["is_test"],
        "as_of_offset": of["last_offset"],
        "recorded_at": of["last_recorded_at"],
        "sentence": sentence,
        "votes": {},
        "change": {},
        "events": (),
        "events_total": 0,
    }
    return named(Notice.model_validate(fields))


_BALLOTS = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes")
_SHEETS = ("processed", "counted", "under_review", "annulled")
_OF_SOURCE = {
    SourceState.SILENT: (NoticeKind.SOURCE_SILENT, "The office says nothing new"),
    SourceState.SPEAKING: (NoticeKind.SOURCE_SPEAKING, "The office speaks again"),
    SourceState.CLOSED: (NoticeKind.FINAL, "The count is closed, by the office's word"),
}


def _set_right(kind: str, events: _Events, area: Area | None) -> str:
    """Say how many statements were corrected or retracted; of a single one which, and why."""
    where = f" in {area.name}" if area is not None else ""
    if events.total > 1:
        return f"{events.total:,} statements were {kind.lower()}{where}."
    (event,) = events.first
    why = f": {event['reason']}" if event["reason"] else ""
    return f"The statement about {event['unit']} was {kind.lower()}{where}{why}."


def snapshot_of(batch: StatementBatch) -> str:
    """Return the id of the publication of a batch's last statement."""
    return str(orjson.loads(batch.publications[-1])["snapshot_id"])


def _is_proclaimed(state: ContestState) -> bool:
    """Say whether the result of the whole contest is proclaimed."""
    return any(of.update.result_stage is ResultStage.PROCLAIMED for of in state.official)


def _areas(contest: ContestDefined) -> list[Area]:
    """Return the outermost area and those directly in it."""
    root = contest.root
    return [root, *(area for area in contest.areas if area.parent_id == root.area_id)]


def _news(
    contest: ContestDefined, area: Area, before: Standing | None, now: Standing, *, is_root: bool
) -> Iterator[tuple[NoticeKind, str, str | None]]:
    """Yield what is to be said of an area: kind, sentence, threshold."""
    names = short_names(contest.selections)
    if (before is None or not before.has_results) and now.has_results:
        yield NoticeKind.FIRST_RESULTS, f"First results of {area.name}: {_votes(names, now)}.", None
    passed = [t for t in (*THRESHOLDS, 100) if now.reaches(t) and not (before is not None and before.reaches(t))]
    if 100 in passed:
        yield NoticeKind.ALL_COUNTED, f"All {now.expected:,} tally sheets of {area.name} are counted.", None
    elif is_root and passed:
        sheets = f"{now.counted:,} of {now.expected:,} tally sheets"
        yield NoticeKind.COUNTED_PERCENT, f"{passed[-1]} % of {area.name} is counted: {sheets}.", str(passed[-1])
    if before is None or not before.has_results:
        return
    if now.leader != before.leader and not (now.is_withheld or before.is_withheld):
        leads, by = "Nobody leads" if now.lead is not None else "It is not known who leads", ""
        if now.leader is not None:
            leads, by = f"{names[now.leader]} leads", f" by {now.lead:,}"
        led = "nobody led" if before.lead is not None else "it was not known who led"
        if before.leader is not None:
            led = f"{names[before.leader]} led by {before.lead:,}"
        yield NoticeKind.LEAD_CHANGED, f"{leads} in {area.name}{by}; before, {led}.", None
    if any((now.votes.get(s) or 0) < (votes or 0) for s, votes in before.votes.items()):
        words = "; ".join(changed_words(names, changed(before.figures, now.figures)))
        yield NoticeKind.FELL, f"Votes fell in {area.name}: {words}.", None


def _votes(names: Mapping[str, str], standing: Standing) -> str:
    stated = sorted(((s, n) for s, n in standing.votes.items() if n is not None), key=lambda of: -of[1])
    votes = ", ".join(f"{names[s]} {n:,}" for s, n in stated[:_NAMED])
    if len(stated) > _NAMED:
        votes += f" and {len(stated) - _NAMED} more"
    counted = f"; {standing.percent} % of the tally sheets counted" if standing.percent is not None else ""
    return f"{votes}{counted}"


def _how(state: ContestState, standing: Standing | None) -> str:
    if standing is None:
        return "Nothing is counted yet."
    return f"{state.contest.root.name}: {_votes(short_names(state.contest.selections), standing)}."


def _add(to: dict[str, _Events], name: str, step: Folded, chosen: Mask) -> None:
    if number := int(chosen.sum()):
        events = to.setdefault(name, _Events())
        events.add((_event(step, entry) for entry in np.flatnonzero(chosen).tolist()), number)


def _event(step: Folded, entry: int) -> dict[str, Any]:
    batch, update = step.batch, step.batch.updates.get(entry)
    correction, kind = update.correction if update is not None else None, KINDS[int(batch.kind[entry])]
    return {
        "event_id": UUID(bytes=batch.event_id[entry].tobytes()),
        "offset": int(batch.offset[entry]),
        "unit": str(batch.index.keys[int(batch.unit[entry])]),
        "kind": kind.value if kind is not UpdateKind.UNKNOWN else None,
        "reason": correction.reason if correction is not None else None,
        "basis": correction.basis.value if correction and correction.basis is not CorrectionBasis.UNKNOWN else None,
    }


def _opened(known: Mapping[str, Any] | None) -> _Open | None:
    if known is None:
        return None
    events, fell = ({name: _Events(**of) for name, of in known[part].items()} for part in ("events", "fell"))
    return _Open(**(dict(known) | {"events": events, "fell": fell}))
