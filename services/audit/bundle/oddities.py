"""List what an auditor should look at, and what is no fault: odd orders of time, silences, tiny units (pure).

Place in the flow: behind `checking`, on what the messages say. `export` warns of tiny units, too.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
import orjson

from audit.bundle.evidence import Evidence, OfContest
from audit.bundle.outcome import Check, list_of
from audit.bundle.words import Said
from schemas.columns.layout import NONE, STATUSES, Mask, Numbers, sum_of_votes
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.wire import NO_TIME
from schemas.rules import CLOCK_TOLERANCE
from schemas.source_status import SourceState, SourceStatus
from schemas.types import CountStatus, from_milliseconds, rfc3339, to_milliseconds

TOLERANCE_MS = int(CLOCK_TOLERANCE.total_seconds() * 1000)
"""What the times of two clocks may differ by, before it is odd."""
GAP_MS = 30 * 60_000
"""Longest time between two messages of an open result that is not listed."""
TINY_VOTES = 10
"""A unit with fewer valid votes is tiny: whoever knows some of its voters may learn what the others voted."""
_COUNTED = STATUSES.index(CountStatus.COUNTED)


def lists_of(found: Sequence[Evidence]) -> Iterator[Check]:
    """Yield the lists of all partitions."""
    contests = [(one.place, name, of) for one in found for name, of in one.contests.items()]
    times = [said for place, _, of in contests for said in _times(place, of)]
    yield list_of("times", "", times, minutes=TOLERANCE_MS // 60_000)
    silences = [said for place, name, of in contests for said in (*_silences(name, of), *_gaps(place, name, of))]
    yield list_of("silences", "", silences, minutes=GAP_MS // 60_000)
    yield tiny_of(found)


def tiny_of(found: Sequence[Evidence]) -> Check:
    """List the units that could betray a vote."""
    said = [said for one in found for of in one.contests.values() for said in _tiny(one.place, of)]
    return list_of("tiny", "", said, votes=TINY_VOTES)


def _times(place: str, of: OfContest) -> Iterator[Said]:
    """Yield the statements whose times are in an odd order, in the order of the log."""
    batch = of.statements
    signed, registered = _beside(batch, "signed_at"), _beside(batch, "registered_at")
    known = np.where(registered == NO_TIME, batch.recorded, registered)
    orders = {
        "before_recorded": (batch.stated, batch.recorded),
        "before_observed": (batch.stated, batch.observed),
        "observed_later": (batch.observed, batch.recorded),
        "signed_later": (signed, known),
        "registered_later": (registered, batch.recorded),
    }
    odd = {name: (time > other + TOLERANCE_MS, time, other) for name, (time, other) in orders.items()}
    backwards, before = _backwards(of)
    odd = {"backwards": (backwards, batch.stated, before)} | odd
    for entry in np.flatnonzero(np.logical_or.reduce([mask for mask, _, _ in odd.values()])).tolist():
        about = {"log": place, "offset": int(batch.offset[entry]), "unit": str(batch.index.keys[batch.unit[entry]])}
        for name, (mask, time, other) in odd.items():
            if mask[entry]:
                yield Said(
                    f"times.{name}", about | {"time": _time(int(time[entry])), "other": _time(int(other[entry]))}
                )


def _beside(batch: StatementBatch, name: str) -> Numbers:
    """Return a time that few statements have, as a column."""
    found = np.full(len(batch), NO_TIME)
    for entry, details in batch.details.items():
        if (time := orjson.loads(details).get(name)) is not None:
            found[entry] = to_milliseconds(datetime.fromisoformat(time))
    return found


def _backwards(of: OfContest) -> tuple[Mask, Numbers]:
    """Say which statements are for an earlier time than one of their unit before them on the log, and for which."""
    batch = of.statements
    latest, before = np.full(len(batch.index.keys), NO_TIME), np.full(len(batch), NO_TIME)
    for entries in batch.rounds(np.arange(len(batch))):
        units = batch.unit[entries]
        before[entries] = latest[units]
        latest[units] = np.maximum(latest[units], batch.stated[entries])
    return batch.stated < before, before


def _silences(contest_id: str, of: OfContest) -> Iterator[Said]:
    """Yield the silences of the source, as the log says them."""
    events = [one.event for one in of.sources]
    for status, following in pairwise((*events, None)):
        assert isinstance(status, SourceStatus)
        if status.state is SourceState.SILENT:
            about = {"contest": contest_id, "begin": rfc3339(status.since), "reason": status.reason or "-"}
            if isinstance(following, SourceStatus):
                minutes = int((following.since - status.since).total_seconds()) // 60
                yield Said("silences.place", about | {"end": rfc3339(following.since), "minutes": minutes})
            else:
                yield Said("silences.open", about)


def _gaps(place: str, contest_id: str, of: OfContest) -> Iterator[Said]:
    """Yield the long times in which nothing came, by the broker's clock."""
    batch = of.statements
    for entry in np.flatnonzero(np.diff(batch.recorded) > GAP_MS).tolist():
        begin, end = int(batch.recorded[entry]), int(batch.recorded[entry + 1])
        about = {"log": place, "contest": contest_id, "offset": int(batch.offset[entry + 1])}
        yield Said(
            "silences.gap", about | {"begin": _time(begin), "end": _time(end), "minutes": (end - begin) // 60_000}
        )


def _tiny(place: str, of: OfContest) -> Iterator[Said]:
    """Yield the counted sheets that could betray a vote: few valid votes, or all of them for one option."""
    batch, layout = of.statements, of.layout
    last = np.full(len(batch.index.keys), -1)
    entries = np.flatnonzero(batch.is_judged & batch.is_sound)
    entries = entries[np.lexsort((batch.offset[entries], batch.stated[entries]))]
    last[batch.unit[entries]] = entries  # the last of each unit, which stays
    states = np.sort(last[last >= 0])
    sheets = np.array([of.contest.is_sheet(key.type) for key in batch.index.keys], bool)
    states = states[sheets[batch.unit[states]] & (batch.status[states] == _COUNTED)]
    votes, stated = layout.votes_of(batch.figures[states]), batch.figures[states, layout.slots["valid_votes"]]
    valid = np.where(stated == NONE, sum_of_votes(batch.figures[states]), stated)
    few = (valid > 0) & (valid < TINY_VOTES)
    alone = (votes.max(axis=1, initial=0) == valid) & (valid > 0)
    for i in np.flatnonzero(few | alone).tolist():
        entry = int(states[i])
        about = {"log": place, "offset": int(batch.offset[entry]), "unit": str(batch.index.keys[batch.unit[entry]])}
        yield Said("tiny.alone" if alone[i] else "tiny.few", about | {"valid": int(valid[i])})


def _time(milliseconds: int) -> str:
    return rfc3339(from_milliseconds(milliseconds))
