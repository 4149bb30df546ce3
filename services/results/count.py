"""Compute an area's count: figures, shares, turnout, and the basis and event behind them (pure).

Percentages are computed from whole numbers and rounded once (half up). The office's own are kept beside ours where it
states them. Every answer gives its basis and the event behind it.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from uuid import UUID

from results.vectors import AreaTotal, Figure, figures_of
from schemas.columns.layout import BALLOTS, SHEETS, VOTERS, Layout
from schemas.contest import Area, ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import Frozen, Instant, UpdateKind


class NothingCounted(EscrutinioError):
    """Nothing is known about the requested contest, area or moment."""

    exit_code = 1


class Basis(StrEnum):
    """The source of a count."""

    OFFICIAL = "OFFICIAL"  # the office's own statement about the area
    COMPUTED = "COMPUTED"  # our sum of the counting level's units


class AsOf(Frozen):
    """The moment of an answer. `offset`: the last event of the log in it."""

    offset: int
    recorded_at: Instant
    reported_at: Instant | None


class SelectionCount(Frozen):
    """Votes of one selection. Shares are of valid votes, decimal strings in percent with three places."""

    selection_id: str
    candidate: str
    party: str
    votes: int | None
    share: str | None
    published_share: str | None


class Percentage(Frozen):
    """Our percentage, to three places, and the office's own where it states one."""

    percent: str | None
    published: str | None


class Turnout(Frozen):
    """Ballots cast over two bases. ONPE's figure uses the first: the roll of counted sheets only."""

    registered_voters_counted: int | None
    of_registered_voters_counted: str | None
    registered_voters: int | None
    of_registered_voters: str | None
    published: str | None


class StatedBy(Frozen):
    """How many of the units that are added up state a figure."""

    units: int
    of: int


class LastUpdate(Frozen):
    """The last event that changed the figures."""

    event_id: UUID
    offset: int
    stated_at: Instant


class Comparison(Frozen):
    """The official statement nearest in time to a computed count. Differences are computed − official."""

    event_id: UUID
    offset: int
    reported_at: Instant | None
    stated_at: Instant
    seconds_apart: int
    differences: dict[str, int]


class Count(Frozen):
    """The count of one area at one moment."""

    contest_id: str
    contest_name: str
    authority: str
    time_zone: str
    area_id: str
    area_name: str
    area_type: str
    basis: Basis
    counting_level: str
    as_of: AsOf
    selections: tuple[SelectionCount, ...]
    lead: int | None
    leader: str | None
    ballots_cast: int | None
    valid_votes: int | None
    blank_votes: int | None
    invalid_votes: int | None
    challenged_votes: int | None
    annulled_ballots: int | None
    sub_units: dict[str, int | None]
    beyond_expected: int
    """Of the whole contest: tally sheets above the number that its definition expects; 0 for other areas. Something is
    counted twice, or the definition is wrong."""
    under_review_by_reason: dict[str, int]
    sub_units_processed: Percentage
    sub_units_counted: Percentage
    turnout: Turnout
    stated_by: dict[str, StatedBy]
    """Of each figure that some of the units added up do not state (`votes.X`, `ballots_cast`, …): then it is their sum
    only, and no share, lead or turnout is computed from it. Stated by none, it is null."""
    last_update: LastUpdate
    official: Comparison | None
    digest: str | None
    """Null for a past moment read from the tables: `replay` and `verify` compute it."""
    moment: str | None = None
    """The requested moment, unless it was now."""
    blocked: str | None = None
    """Why the contest is blocked: a message on the log that cannot be read. Nothing after it is counted."""


def percent(part: int | None, whole: int | None, places: int = 3) -> str | None:
    """Compute 100 · part / whole, rounded half up to `places`; None when either is not stated or the whole is 0."""
    if part is None or not whole:
        return None
    return str((Decimal(100) * part / whole).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def find_area(contest: ContestDefined, area_id: str | None) -> Area:
    """Find an area by its id or `type/id` (default: the outermost). Raises NothingCounted for an unknown one."""
    if area_id is None:
        return contest.root
    kind, slash, name = area_id.rpartition("/")
    area = contest.areas_by_id.get(area_id) or contest.areas_by_id.get(name)
    if area is None or (slash and area.area_id != area_id and area.type != kind):
        raise NothingCounted(
            f"contest {contest.contest_id} has no area {area_id!r}; its outermost is {contest.root.area_id!r}"
        )
    return area


def count(
    contest: ContestDefined,
    area: Area,
    total: AreaTotal | None,
    official: Sequence[Recorded],
    as_of: AsOf,
    digest: str | None,
) -> Count:
    """Make the count of an area: from its total if there is one, else from the office's own statement.

    `official`: accepted statements about the area, in any order. Raises NothingCounted when there is neither.
    """
    computed = total is not None and area.type is not contest.counting_level
    statements = sorted(official, key=lambda r: (r.update.stated_at, r.update.sequence))
    if computed:
        assert total is not None
        return _computed(contest, area, total, statements, as_of, digest)
    if statements and statements[-1].update.kind is UpdateKind.RETRACTED:
        raise NothingCounted(f"{contest.authority} retracted its statement about {area.name} ({area.area_id})")
    if statements:
        return _official(contest, area, statements[-1], as_of, digest)
    raise NothingCounted(
        f"nothing has been stated yet about {area.name} ({area.area_id}); "
        f"the counting level is {contest.counting_level}"
    )


def _official(contest: ContestDefined, area: Area, recorded: Recorded, as_of: AsOf, digest: str | None) -> Count:
    update = recorded.update
    counts, sub, published = update.counts, update.sub_units, update.published_percentages
    roll = counts.registered_voters if counts is not None else None
    if roll is None and area.parent_id is None:
        roll = contest.registered_voters
    figures: dict[str, int | None] = {name: getattr(counts, name, None) for name in BALLOTS}
    sheets: dict[str, int | None] = {name: getattr(sub, name, None) for name in SHEETS}
    votes = counts.votes if counts is not None else {}
    has_all_votes = bool(votes) and None not in votes.values()
    if figures["valid_votes"] is None and has_all_votes:
        figures["valid_votes"] = sum(v or 0 for v in votes.values())
    return _answer(
        contest,
        area,
        Basis.OFFICIAL,
        as_of,
        digest,
        votes={s: votes.get(s) for s in contest.selection_ids},
        has_all_votes=has_all_votes,
        figures=figures | {"annulled_ballots": None},
        sheets=sheets,
        reasons=sub.under_review_by_reason if sub is not None else {},
        voters=(counts.registered_voters_counted if counts is not None else None, roll),
        published=published.model_dump() if published is not None else {},
        stated_by={},
        last=LastUpdate(event_id=update.event_id, offset=recorded.offset, stated_at=update.stated_at),
        official=None,
    )


def _computed(
    contest: ContestDefined, area: Area, total: AreaTotal, statements: list[Recorded], as_of: AsOf, digest: str | None
) -> Count:
    layout = Layout.of(contest)
    found = figures_of(layout, total.vector, contest.counting_level)
    named = {name: figure.value for name, figure in found.items()}
    stated_by = {n: StatedBy(units=f.stated_by, of=f.units) for n, f in found.items() if not f.is_whole}
    if area.parent_id is None:
        if contest.registered_voters is not None:
            named["registered_voters"] = contest.registered_voters
            stated_by.pop("registered_voters", None)
        known = named["total"]
        if missing := max(contest.expected_units - (known or 0), 0):  # sheets that nobody has stated yet
            named["total"] = contest.expected_units
            stated_by.pop("total", None)
            for name in ("to_be_processed", "pending") if known is not None else ():
                if (waiting := named[name]) is not None:
                    named[name] = waiting + missing
    assert total.last_event_id is not None
    assert total.stated_at is not None
    return _answer(
        contest,
        area,
        Basis.COMPUTED,
        as_of,
        digest,
        votes={s: named[f"votes.{s}"] for s in contest.selection_ids},
        has_all_votes=all(found[f"votes.{s}"].is_whole for s in contest.selection_ids),
        figures={name: named[name] for name in (*BALLOTS, "annulled_ballots")},
        sheets={name: named[name] for name in SHEETS},
        reasons={r: n for r, n in layout.reasons(total.vector).items() if n},
        voters=(named["registered_voters_counted"], named["registered_voters"]),
        published={},
        stated_by=stated_by,
        last=LastUpdate(event_id=total.last_event_id, offset=total.last_offset, stated_at=total.stated_at),
        official=_comparison(layout, found, total, statements),
    )


def _comparison(
    layout: Layout, figures: Mapping[str, Figure], total: AreaTotal, statements: list[Recorded]
) -> Comparison | None:
    at = total.stated_at
    assert at is not None
    retracted = {
        u.correction.replaces_event_id
        for r in statements
        if (u := r.update).kind is UpdateKind.RETRACTED and u.correction
    }
    standing = [
        r for r in statements if r.update.kind is not UpdateKind.RETRACTED and r.update.event_id not in retracted
    ]
    if not standing:
        return None
    nearest = min(standing, key=lambda r: (abs(r.update.stated_at - at), -r.update.sequence))
    update = nearest.update
    stated = _stated(update)
    computed = {name: figure.value for name, figure in figures.items() if figure.is_whole}
    computed |= {f"under_review.{reason}": value for reason, value in layout.reasons(total.vector).items()}
    return Comparison(
        event_id=update.event_id,
        offset=nearest.offset,
        reported_at=update.reported_at,
        stated_at=update.stated_at,
        seconds_apart=abs(int((update.stated_at - at).total_seconds())),
        differences={n: v - stated[n] for n, v in computed.items() if v is not None and n in stated},
    )


def _stated(update: CountUpdate) -> dict[str, int]:
    """Return the figures that a statement states, by slot name: only these can be compared."""
    stated: dict[str, int | None] = {}
    if update.counts is not None:
        stated |= {name: getattr(update.counts, name) for name in (*BALLOTS, "registered_voters_counted")}
        stated |= {f"votes.{s}": v for s, v in update.counts.votes.items()}
    if update.sub_units is not None:
        stated |= {name: getattr(update.sub_units, name, None) for name in SHEETS}
        stated |= {f"under_review.{r}": v for r, v in update.sub_units.under_review_by_reason.items()}
    return {name: value for name, value in stated.items() if value is not None}


def _answer(
    contest: ContestDefined,
    area: Area,
    basis: Basis,
    as_of: AsOf,
    digest: str | None,
    *,
    votes: dict[str, int | None],
    has_all_votes: bool,
    figures: dict[str, int | None],
    sheets: dict[str, int | None],
    reasons: dict[str, int],
    voters: tuple[int | None, int | None],
    published: dict[str, object],
    stated_by: dict[str, StatedBy],
    last: LastUpdate,
    official: Comparison | None,
) -> Count:
    valid, cast = figures["valid_votes"], figures["ballots_cast"]
    shares = published.get("valid_votes_share")
    published_shares = shares if isinstance(shares, dict) else {}
    by_id = {s.selection_id: s for s in contest.selections}
    ranked = sorted((v for v in votes.values() if v is not None), reverse=True)
    lead = ranked[0] - ranked[1] if has_all_votes and len(ranked) > 1 else None
    base = valid if has_all_votes and "valid_votes" not in stated_by else None
    turnout = {name: cast for name in VOTERS if not {"ballots_cast", name} & stated_by.keys()}

    def of_all(name: str) -> str | None:
        """Compute the percentage of the sheets, where all units state both numbers."""
        return None if {name, "total"} & stated_by.keys() else percent(sheets[name], sheets["total"])

    return Count(
        contest_id=contest.contest_id,
        contest_name=contest.name,
        authority=contest.authority,
        time_zone=contest.time_zone,
        area_id=area.area_id,
        area_name=area.name,
        area_type=area.type.value,
        basis=basis,
        counting_level=contest.counting_level.value,
        as_of=as_of,
        selections=tuple(
            SelectionCount(
                selection_id=s,
                candidate=by_id[s].candidate,
                party=by_id[s].party,
                votes=v,
                share=percent(v, base),
                published_share=published_shares.get(s),
            )
            for s, v in votes.items()
        ),
        lead=lead,
        leader=max(votes, key=lambda s: votes[s] or 0) if lead else None,
        ballots_cast=cast,
        valid_votes=valid,
        blank_votes=figures["blank_votes"],
        invalid_votes=figures["invalid_votes"],
        challenged_votes=figures["challenged_votes"],
        annulled_ballots=figures["annulled_ballots"],
        sub_units=sheets,
        beyond_expected=max((sheets["total"] or 0) - contest.expected_units, 0) if area.parent_id is None else 0,
        under_review_by_reason=reasons,
        sub_units_processed=Percentage(percent=of_all("processed"), published=_text(published, "sub_units_processed")),
        sub_units_counted=Percentage(percent=of_all("counted"), published=_text(published, "sub_units_counted")),
        turnout=Turnout(
            registered_voters_counted=voters[0],
            of_registered_voters_counted=percent(turnout.get("registered_voters_counted"), voters[0]),
            registered_voters=voters[1],
            of_registered_voters=percent(turnout.get("registered_voters"), voters[1]),
            published=_text(published, "turnout"),
        ),
        stated_by=stated_by,
        last_update=last,
        official=official,
        digest=digest,
    )


def _text(published: dict[str, object], name: str) -> str | None:
    value = published.get(name)
    return value if isinstance(value, str) else None
