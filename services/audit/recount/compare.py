"""Compare published figures with a recount: totals that were kept, and the office's own bulletins (pure)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from audit.recount.contest_log import RETRACTED, ContestLog, Moment
from audit.recount.figures import bulletin, of_area, stated, summed
from schemas.columns.layout import Numbers
from schemas.contest import Area
from schemas.count_update import UnitKey
from schemas.types import from_milliseconds, rfc3339, to_milliseconds

_STATED_BY = re.compile(r"stated by (?P<time>\S+)")
_RECORDED_BY = re.compile(r"recorded by (?P<time>[^,]+)")


class Asked(NamedTuple):
    """The moment of an answer: after the message at an offset; with a time, of what the office had stated by then."""

    offset: int
    stated_by: int | None


def answers_in(document: Any) -> list[Mapping[str, Any]]:
    """Return the answers of `escrutinio show --json` in a document: one, or those of several areas.

    Raises TypeError, KeyError for what has none.
    """
    if isinstance(document, dict):
        document = document.get("counts", [document])
    if not isinstance(document, list) or not document or not all(isinstance(one, dict) for one in document):
        raise TypeError("no answers of `escrutinio show --json`")
    return document


def moment_of(answer: Mapping[str, Any], log: ContestLog, end: int) -> Asked:
    """Return the moment that an answer is about. `end`: the last offset there is. Raises KeyError, ValueError."""
    words = answer["moment"] or ""
    if (found := _STATED_BY.search(words)) is None:
        return Asked(int(answer["as_of"]["offset"]), None)
    stated_by = to_milliseconds(datetime.fromisoformat(found["time"]))
    if (at := re.search("offset ([0-9]+)", words)) is not None:
        end = int(at[1])
    if (at := _RECORDED_BY.search(words)) is not None:
        later = log.batch.offset[log.batch.recorded > to_milliseconds(datetime.fromisoformat(at["time"]))]
        end = min(end, int(later[0]) - 1 if len(later) else end)
    return Asked(end, stated_by)


class Difference(NamedTuple):
    """A figure that is not the one of the recount. `figure`: empty where only one of the two counts the area."""

    area: str
    figure: str
    stated: Any
    recounted: Any


def differences(answer: Mapping[str, Any], moment: Moment) -> Iterator[Difference]:
    """Yield each figure of an answer that a recount has otherwise. Raises KeyError, TypeError for what is no answer."""
    area = str(answer["area_id"])
    recounted = of_area(moment, area) if area in moment.contest.areas_by_id else None
    if recounted is None:
        yield Difference(area, "", answer["basis"], None)
        return
    said, recounted = stated(answer) | _names(answer), recounted | _named(answer, moment, area)
    for name in said | recounted:
        if (one := said.get(name)) != (other := recounted.get(name)):
            yield Difference(area, name, one, other)


_NAMES = ("contest_name", "authority", "area_name", "area_type")


def _names(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer says beside its figures: who stands for them, and which message changed them last."""
    found = {name: answer[name] for name in _NAMES} | {
        "selections": [of["selection_id"] for of in answer["selections"]]
    }
    for of in answer["selections"]:
        found |= {f"{name}.{of['selection_id']}": of[name] for name in ("candidate", "party")}
    last = answer["last_update"]
    return found | {"last_update": f"{last['offset']} {last['event_id']}"}


def _named(answer: Mapping[str, Any], moment: Moment, area_id: str) -> dict[str, Any]:
    """Return what the log says of it, of the message that an answer names."""
    contest, area, batch = moment.contest, moment.contest.areas_by_id[area_id], moment.batch
    found: dict[str, Any] = dict(zip(_NAMES, (contest.name, contest.authority, area.name, area.type), strict=True))
    found["selections"] = list(contest.selection_ids)
    for of in contest.selections:
        found |= {f"candidate.{of.selection_id}": of.candidate, f"party.{of.selection_id}": of.party}
    for entry in np.flatnonzero(batch.offset == answer["last_update"]["offset"]).tolist():
        found["last_update"] = f"{batch.offset[entry]} {UUID(bytes=batch.event_id[entry].tobytes())}"
    return found


class Reconciled(NamedTuple):
    """A statement of the office about an area, beside the sum of the sheets that it had stated by then."""

    offset: int
    area: str
    stated_at: str
    sheets_at: str
    """The latest official time of the statements that are summed."""
    differences: Mapping[str, tuple[int, int]]
    """By figure: what the office states, and the sum."""


def reconcile(log: ContestLog) -> Iterator[Reconciled]:
    """Yield each accepted statement about an area of which sheets, or smaller areas, are added up as well.

    Summed are the figures of the present counting level that the office had stated by the time of the statement. A
    figure that some unit lacks is not compared, nor are the voters of the roll.
    """
    batch, contest = log.batch, log.definitions[-1].definition
    level = contest.counting_level
    areas: dict[int, Area] = {}
    for area in contest.areas:
        number = batch.index.find(UnitKey(area.type, area.area_id))
        if number is not None and not contest.is_part(area.type) and level != (area.type,):
            areas[number] = area
    is_summed = np.array([kind in level for kind, _ in batch.index.groups], bool)
    accepted = log.accepted
    times: Numbers = np.sort(batch.stated[accepted[is_summed[batch.group[accepted]]]])
    about = accepted[np.isin(batch.unit[accepted], list(areas)) & (batch.kind[accepted] != RETRACTED)]
    moments: dict[int, Moment] = {}  # bulletins between two statements of sheets have one
    for row in about[np.argsort(batch.stated[about], kind="stable")].tolist():
        at, area = int(batch.stated[row]), areas[int(batch.unit[row])]
        if not (number := int(np.searchsorted(times, at, "right"))):
            continue
        if number not in moments:
            then = log.at(int(batch.offset[-1]), at)
            assert then is not None
            moments = {number: replace(then, contest=contest)}
        sums, said = summed(moments[number], area), bulletin(moments[number], area, row)
        found = {name: (said[name], sums[name]) for name in said if name in sums and said[name] != sums[name]}
        last = rfc3339(from_milliseconds(int(times[number - 1])))
        if sums:
            yield Reconciled(int(batch.offset[row]), area.area_id, rfc3339(from_milliseconds(at)), last, found)
