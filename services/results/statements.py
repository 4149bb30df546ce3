"""List the statements that a count is made of, each with its place on the log and its documents."""

from uuid import UUID

from results.count import AsOf, Count, OnLog
from results.moment import NOW, Moment
from results.reader import Reader
from schemas.area_count import Basis
from schemas.contest import Level
from schemas.count_update import Document
from schemas.types import Frozen, Instant


class StatementBehind(Frozen):
    """What an office states about one unit, as the count has it."""

    offset: int
    event_id: UUID
    unit: str
    """`type/id`."""
    unit_name: str | None
    kind: str
    count_status: str
    stated_at: Instant
    documents: tuple[Document, ...]


class Statements(Frozen):
    """A count's statements, in the order of the log: of OFFICIAL the office's own, of COMPUTED those added up."""

    contest_id: str
    contest_name: str
    area_id: str
    area_name: str
    basis: Basis
    counting_level: str
    moment: str | None
    """As `Count.moment`."""
    as_of: AsOf
    log: OnLog
    statements: tuple[StatementBehind, ...]


def statements_of(reader: Reader, count: Count, moment: Moment, level: Level, to_offset: int) -> Statements:
    """List the statements that a count of a moment is made of.

    Args:
        level: The types of the units that are added up.
        to_offset: The last offset that belongs to the moment.
    """
    if count.basis is Basis.OFFICIAL:
        rows = reader.statement_at(count.contest_id, count.last_update.offset)
    else:
        rows = reader.states_at(count.contest_id, level, count.area_id, to_offset, moment.stated_at)
    named = reader.documents_of(count.contest_id, list({row["publication"] for row in rows}))
    same = {name: getattr(count, name) for name in Statements.model_fields if name in Count.model_fields}
    return Statements(
        **same | {"moment": None if moment == NOW else str(moment), "log": reader.log_of(count.contest_id)},
        statements=tuple(
            StatementBehind(
                **{name: row[name] for name in StatementBehind.model_fields if name in row},
                documents=tuple(
                    Document(**document, place=place)
                    for document, place in zip(named[row["publication"]], row["places"], strict=True)
                ),
            )
            for row in rows
        ),
    )
