"""Notices of a contest, as they were published: what a newsroom would report, and the events behind it."""

from results.reader import Reader
from schemas.notice import Notice
from schemas.types import Frozen


class PublishedNotice(Frozen):
    """A notice as it stands on results.notices.

    `number`: its place among those of the contest, from 1, without gaps.
    """

    number: int
    notice: Notice


def notices_since(reader: Reader, contest_id: str, since: int, limit: int) -> list[PublishedNotice]:
    """Return the first `limit` notices after the number `since`, in the order in which they were published."""
    rows = reader.notices_since(contest_id, since, limit)
    return [PublishedNotice(number=of["number"], notice=Notice.model_validate_json(of["body"])) for of in rows]
