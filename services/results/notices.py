"""Notices of a contest, as they were published: what a newsroom would report, and the events behind it."""

import json
from typing import Any

from results.reader import Reader
from schemas.area_count import Cause
from schemas.notice import Notice, NoticeKind
from schemas.types import CorrectionBasis, Frozen, UpdateKind

_KINDS = frozenset(NoticeKind)
_KNOWN = {"kind": frozenset(UpdateKind), "basis": frozenset(CorrectionBasis)}


class PublishedNotice(Frozen):
    """A notice as it stands on results.notices.

    `number`: its place among those of the contest, from 1, without gaps.
    """

    number: int
    notice: Notice


def notices_since(reader: Reader, contest_id: str, since: int, limit: int) -> list[PublishedNotice]:
    """Return the first `limit` notices after the number `since`, in the order in which they were published."""
    rows = reader.notices_since(contest_id, since, limit)
    return [PublishedNotice(number=of["number"], notice=_notice(json.loads(of["body"]))) for of in rows]


def _notice(body: dict[str, Any]) -> Notice:
    """Return a notice, also one of a later release: what is not known of it reads as in the message."""
    events = [{name: event.get(name) for name in Cause.model_fields} for event in body["events"]]
    for event in events:
        event |= {name: None for name, known in _KNOWN.items() if event[name] not in known}
    known = {name: body.get(name) for name in Notice.model_fields} | {"events": events}
    if known["kind"] not in _KINDS:
        known["kind"] = NoticeKind.UNKNOWN
    return Notice.model_validate_json(json.dumps(known))
