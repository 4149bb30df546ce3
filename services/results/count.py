"""Compute an area's count: figures, shares, turnout, and the basis and event behind them (pure).

Percentages are computed from whole numbers and rounded once (half up). The office's own are kept beside ours where it
states them. Every answer gives its basis and the event behind it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from results.findings import BrokenRule, NotAccepted
from results.vectors import Figure, LevelTotal
from schemas.area_count import Basis, ExpectedFrom, Progress, SelectionCount, StatedBy, Turnout
from schemas.columns.layout import BALLOTS, SHEETS, VOTERS
from schemas.contest import ENDED, Area, ContestDefined, in_words
from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import CountStatus, Frozen, Instant, UpdateKind


class NothingCounted(EscrutinioError):
    """Nothing is known about the requested contest, area or moment."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class OnRoll:
    """What the contest's roll has of an area."""

    units: int
    registered_voters: int | None
    """None where the roll does not say so of every unit."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the count of an area depends on beside its own statements."""

    roll: OnRoll | None = None
    """None where the contest has no roll."""
    known_in_all: int | None = None
    """Tally sheets of the whole contest of which something was stated."""

    @classmethod
    def of(cls, roll: OnRoll | None, contest_total: LevelTotal | None) -> "Around":
        """Return it from the count of the outermost area."""
        return cls(roll, None if contest_total is None else contest_total.figures()["total"].value)


class OnLog(Frozen):
    """The part of the log on which the events of an answer stand: an offset in the answer is one of it."""

    topic: str
    partition: int


class AsOf(Frozen):
    """The moment of an answer. `offset`: the last event of the log in it."""

    offset: int
    recorded_at: Instant
    reported_at: Instant | None


class Percentage(Frozen):
    """Our percentage, to three places, and the office's own where it states one."""

    percent: str | None
    published: str | None


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
    share_base: int | None
    """What the shares are of: valid votes; where a ballot has several votes, all votes for selections."""
    lead: int | None
    leader: str | None
    lead_is_withheld: bool
    """Whether no leader is named since too few sheets are counted (`leader_from_percent` of the definition)."""
    ballots_cast: int | None
    valid_votes: int | None
    blank_votes: int | None
    invalid_votes: int | None
    challenged_votes: int | None
    undervotes: int | None
    overvotes: int | None
    annulled_ballots: int | None
    sub_units: dict[str, int | None]
    progress: Progress
    suppressed_units: int
    """Units that hold figures back, as of very small places."""
    unknown_units: int
    """Units that state something which this release does not know: then the total has no figures. A newer one has."""
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
    findings: tuple[BrokenRule, ...] | None = None
    """Rules that events of the contest break, up to the moment; None where nobody asked (`results.findings`)."""
    not_accepted: NotAccepted | None = None
    """Events of the contest that changed nothing; None where nobody asked."""
    log: OnLog | None = None
    """Where its events stand; None in a count that is not for readers."""


def percent(part: int | None, whole: int | None, places: int = 3) -> str | None:
    """Compute 100 · part / whole, rounded half up to `places`; None when either is not stated or the whole is 0."""
    if part is None or not whole:
        return None
    return str((Decimal(100) * part / whole).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def find_area(contest: ContestDefined, area_id: str | None) -> Area:
    """Find an area by its id or `type/id` (default: the outermost). Raises NothingCounted for an unknown one."""
    if area_id is None:
        return contest.root
    kind, slash, name = area_id.partition("/")
    area = contest.areas_by_id.get(area_id) or contest.areas_by_id.get(name)
    if area is None or (slash and area.area_id != area_id and area.type != kind):
        raise NothingCounted(
            f"contest {contest.contest_id} has no area {area_id!r}; its outermost is {contest.root.area_id!r}"
        )
    return area


def count(
    contest: ContestDefined,
    area: Area,
    total: LevelTotal | None,
    official: Sequence[Recorded],
    as_of: AsOf,
    digest: str | None,
    around: Around,
) -> Count:
    """Make the count of an area: from its total if there is one, else from the office's own statement.

    An area that is itself the only kind of unit that is added up has its own statement.

    `official`: accepted statements about the area, in any order. Raises NothingCounted when there is neither.
    """
    own = () if contest.is_part(area.type) else official
    statements = sorted(own, key=lambda r: (r.update.stated_at, r.update.sequence))
    if total is not None and contest.counting_level != (area.type,):
        return computed(contest, area, total, statements, as_of, digest, around)
    if statements and statements[-1].update.kind is UpdateKind.RETRACTED:
        raise NothingCounted(f"{contest.authority} retracted its statement about {area.name} ({area.area_id})")
    if statements:
        return _official(contest, area, statements[-1], as_of, digest, around)
    known = _expected(contest, area, (), around)
    sheets = "" if known is None else f", of {known[0]:,} tally sheets that are expected there"
    raise NothingCounted(
        f"nothing has been stated yet about {area.name} ({area.area_id}){sheets}; "
        f"the counting level is {in_words(contest.counting_level)}"
    )


def _expected(
    contest: ContestDefined, area: Area, statements: Sequence[Recorded], around: Around
) -> tuple[int, ExpectedFrom] | None:
    """Return how many tally sheets an area has, by who knows best."""
    if around.roll is not None:
        return around.roll.units, ExpectedFrom.ROLL
    defined = area.expected_units
    if defined is None and area.parent_id is None:
        defined = contest.expected_units
    if defined is not None:
        return defined, ExpectedFrom.DEFINITION
    last = statements[-1].update if statements else None
    sub = last.sub_units if last is not None and last.kind is not UpdateKind.RETRACTED and _is_known(last) else None
    return None if sub is None or sub.total is None else (sub.total, ExpectedFrom.OFFICE)


def _is_known(update: CountUpdate) -> bool:
    """Say whether this release knows what the statement is."""
    return update.count_status is not CountStatus.UNKNOWN and update.kind is not UpdateKind.UNKNOWN


def _official(
    contest: ContestDefined, area: Area, recorded: Recorded, as_of: AsOf, digest: str | None, around: Around
) -> Count:
    update = recorded.update
    is_known = _is_known(update)
    stated_counts = update.counts if is_known else None
    counts = stated_counts if update.count_status in contest.adding(area.type) else None
    waiting = stated_counts if counts is None and update.count_status is not CountStatus.ANNULLED else None
    sub = update.sub_units if is_known else None
    published = update.published_percentages if is_known else None
    roll = counts.registered_voters if counts is not None else None
    if roll is None and area.parent_id is None:
        roll = contest.registered_voters
    figures: dict[str, int | None] = {name: getattr(counts, name, None) for name in BALLOTS}
    sheets: dict[str, int | None] = {name: getattr(sub, name, None) for name in SHEETS}
    votes = counts.votes if counts is not None else {}
    has_all_votes = bool(votes) and None not in votes.values()
    if figures["valid_votes"] is None and has_all_votes and contest.one_vote:
        figures["valid_votes"] = sum(v or 0 for v in votes.values())
    stated = sheets["total"]
    expected = (stated, ExpectedFrom.OFFICE) if stated is not None else _expected(contest, area, (), around)
    return _answer(
        contest,
        area,
        Basis.OFFICIAL,
        as_of,
        digest,
        votes={s: votes.get(s) for s in contest.selection_ids},
        on_ballot=votes.keys() or contest.selection_ids,  # votes that name no selection say nothing of votes
        has_all_votes=has_all_votes,
        turnouts=VOTERS,
        not_counted={} if waiting is None else {s: n for s, n in waiting.votes.items() if n},
        figures=figures | {"annulled_ballots": None},
        sheets=sheets,
        reasons=sub.under_review_by_reason if sub is not None else {},
        voters=(counts.registered_voters_counted if counts is not None else None, roll),
        published=published.model_dump() if published is not None else {},
        stated_by={},
        progress=Progress(
            expected=expected and expected[0],
            expected_from=expected and expected[1],
            counted=sheets["counted"],
            processed=sheets["processed"],
            under_review=sheets["under_review"],
            partially_reporting=0,
            not_stated=None,
            beyond_expected=_beyond(_expected(contest, area, (), around), stated),
            areas_reported=None,
            areas_expected=None,
            voters_outstanding=_outstanding(around, counts.registered_voters_counted if counts is not None else None),
        ),
        suppressed_units=int(stated_counts is not None and stated_counts.suppressed is not None),
        unknown_units=int(not is_known),
        last=LastUpdate(event_id=update.event_id, offset=recorded.offset, stated_at=update.stated_at),
        official=None,
    )


def _beyond(expected: tuple[int, ExpectedFrom] | None, known: int | None) -> int:
    """Return by how many the known sheets exceed those that roll or definition expect."""
    if expected is None or expected[1] not in (ExpectedFrom.ROLL, ExpectedFrom.DEFINITION):
        return 0
    return max((known or 0) - expected[0], 0)


def computed(
    contest: ContestDefined,
    area: Area,
    total: LevelTotal,
    statements: list[Recorded],
    as_of: AsOf,
    digest: str | None,
    around: Around,
) -> Count:
    """Make the count of an area from its total, whatever the office states about it.

    `statements`: the office's about the area, by official time; for the comparison, and how many sheets it has.
    """
    found = total.figures()
    named = {name: figure.value for name, figure in found.items()}
    stated_by = {n: StatedBy(units=f.stated_by, of=f.units) for n, f in found.items() if not f.is_whole}
    known, progress = named["total"], _progress(contest, area, total, found, statements, around)
    whole = contest.registered_voters if area.parent_id is None else None
    if around.roll is not None:
        whole = around.roll.registered_voters
    if around.roll is not None or whole is not None:
        named["registered_voters"] = whole
        stated_by.pop("registered_voters", None)
    elif total.has_sheets and progress.not_stated != 0:  # the voters of sheets that happen to be known
        named["registered_voters"] = None
    if progress.expected is not None:
        named["total"] = max(progress.expected, known or 0)
        stated_by.pop("total", None)
        for name in ("to_be_processed", "pending") if known is not None else ():
            if (waiting := named[name]) is not None:
                named[name] = waiting + (progress.not_stated or 0)
    elif total.has_sheets:  # those that happen to be known are no whole
        named["total"] = None
    last = total.last
    assert last.last_event_id is not None
    return _answer(
        contest,
        area,
        Basis.COMPUTED,
        as_of,
        digest,
        votes={s: named[f"votes.{s}"] for s in contest.selection_ids},
        on_ballot={s for s in contest.selection_ids if found[f"votes.{s}"].is_on_ballot},
        has_all_votes=all(found[f"votes.{s}"].is_whole for s in contest.selection_ids),
        turnouts=total.turnouts,
        not_counted=total.not_counted(),
        figures={name: named[name] for name in (*BALLOTS, "annulled_ballots")},
        sheets={name: named[name] for name in SHEETS},
        reasons={r: n for r, n in total.reasons.items() if n},
        voters=(named["registered_voters_counted"], named["registered_voters"]),
        published={},
        stated_by=stated_by,
        progress=progress,
        suppressed_units=total.number("units_suppressed"),
        unknown_units=total.number("units_unknown"),
        last=LastUpdate(event_id=last.last_event_id, offset=last.last_offset, stated_at=total.stated_at),
        official=_comparison(contest, found, total, statements),
    )


def _progress(
    contest: ContestDefined,
    area: Area,
    total: LevelTotal,
    found: Mapping[str, Figure],
    statements: Sequence[Recorded],
    around: Around,
) -> Progress:
    known = found["total"].value
    within = contest.areas_within[area.area_id]
    areas = [name for name in contest.counting_level if not contest.is_sheet(name) and name in contest.area_types]
    areas_expected = sum(within.get(name, 0) for name in areas) if areas else None
    slot = total.layout.slots["units"]
    areas_reported = sum(total.parts[name].vector[slot] for name in areas if name in total.parts) if areas else None
    if within.get(ENDED):  # they may be among those that are reported
        areas_reported = None
    expected = _expected(contest, area, statements, around)
    if expected is not None and expected[1] is ExpectedFrom.OFFICE and (known or 0) > expected[0]:
        expected = None  # it said so before these sheets were there
    if expected is None and known is not None:
        if total.has_sheets and contest.expected_units is not None and contest.expected_units == around.known_in_all:
            expected = known, ExpectedFrom.ALL_STATED
        elif (
            not total.has_sheets
            and found["total"].is_whole
            and areas_reported is not None
            and areas_reported == areas_expected
        ):
            expected = known, ExpectedFrom.OFFICE
    counted = found["registered_voters_counted"]
    return Progress(
        expected=expected and expected[0],
        expected_from=expected and expected[1],
        counted=found["counted"].value,
        processed=found["processed"].value,
        under_review=found["under_review"].value,
        partially_reporting=total.number("units_partial"),
        not_stated=None if expected is None or known is None else max(expected[0] - known, 0),
        beyond_expected=_beyond(expected, known),
        areas_reported=areas_reported,
        areas_expected=areas_expected,
        voters_outstanding=_outstanding(around, (counted.value or 0) if counted.is_whole else None),
    )


def _outstanding(around: Around, counted: int | None) -> int | None:
    """Return the voters on the roll whose sheets are not counted yet. `counted`: those of the counted sheets."""
    voters = around.roll.registered_voters if around.roll is not None else None
    return None if voters is None or counted is None else max(voters - counted, 0)


def _comparison(
    contest: ContestDefined, figures: Mapping[str, Figure], total: LevelTotal, statements: list[Recorded]
) -> Comparison | None:
    at = total.stated_at
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
    stated = _stated(contest, update)
    computed = {name: figure.value for name, figure in figures.items() if figure.is_whole}
    computed |= {f"under_review.{reason}": value for reason, value in total.reasons.items()}
    return Comparison(
        event_id=update.event_id,
        offset=nearest.offset,
        reported_at=update.reported_at,
        stated_at=update.stated_at,
        seconds_apart=abs(int((update.stated_at - at).total_seconds())),
        differences={n: v - stated[n] for n, v in computed.items() if v is not None and n in stated},
    )


def _stated(contest: ContestDefined, update: CountUpdate) -> dict[str, int]:
    """Return the figures of a statement that count, by slot name: only these can be compared."""
    stated: dict[str, int | None] = {}
    if not _is_known(update):
        return {}
    if update.counts is not None and update.count_status in contest.adding(update.reporting_unit.type):
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
    on_ballot: Collection[str],
    has_all_votes: bool,
    turnouts: Sequence[str],
    not_counted: dict[str, int],
    figures: dict[str, int | None],
    sheets: dict[str, int | None],
    reasons: dict[str, int],
    voters: tuple[int | None, int | None],
    published: dict[str, object],
    stated_by: dict[str, StatedBy],
    progress: Progress,
    suppressed_units: int,
    unknown_units: int,
    last: LastUpdate,
    official: Comparison | None,
) -> Count:
    valid, cast = figures["valid_votes"], figures["ballots_cast"]
    shares = published.get("valid_votes_share")
    published_shares = shares if isinstance(shares, dict) else {}
    by_id = {s.selection_id: s for s in contest.selections}
    ranked = sorted((v for v in votes.values() if v is not None), reverse=True)
    lead = ranked[0] - ranked[1] if has_all_votes and len(ranked) > 1 else None
    is_early = contest.leader_from_percent is not None and not _reaches(progress, contest.leader_from_percent)
    base = None
    if has_all_votes and not contest.one_vote:
        base = sum(ranked)
    elif has_all_votes and "valid_votes" not in stated_by:
        base = valid
    turnout = {name: cast for name in turnouts if not {"ballots_cast", name} & stated_by.keys()}

    def of_all(name: str) -> str | None:
        """Compute the percentage of the expected sheets, where all units state the number."""
        return None if name in stated_by else percent(sheets[name], progress.expected)

    return Count(
        contest_id=contest.contest_id,
        contest_name=contest.name,
        authority=contest.authority,
        time_zone=contest.time_zone,
        area_id=area.area_id,
        area_name=area.name,
        area_type=area.type,
        basis=basis,
        counting_level=in_words(contest.counting_level),
        as_of=as_of,
        selections=tuple(
            SelectionCount(
                selection_id=s,
                candidate=by_id[s].candidate,
                party=by_id[s].party,
                votes=v,
                share=percent(v, base),
                published_share=published_shares.get(s),
                not_counted=not_counted.get(s),
                withdrawn_at=by_id[s].withdrawn_at,
                is_on_ballot=s in on_ballot,
            )
            for s, v in votes.items()
        ),
        share_base=base,
        lead=None if is_early else lead,
        lead_is_withheld=is_early,
        leader=max(votes, key=lambda s: votes[s] or 0) if lead and not is_early else None,
        ballots_cast=cast,
        valid_votes=valid,
        blank_votes=figures["blank_votes"],
        invalid_votes=figures["invalid_votes"],
        challenged_votes=figures["challenged_votes"],
        undervotes=figures["undervotes"],
        overvotes=figures["overvotes"],
        annulled_ballots=figures["annulled_ballots"],
        sub_units=sheets,
        progress=progress,
        suppressed_units=suppressed_units,
        unknown_units=unknown_units,
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


def _reaches(progress: Progress, threshold: str) -> bool:
    """Say whether the share of the expected sheets that are counted is known, and reaches a threshold in percent."""
    counted = percent(progress.counted, progress.expected, 9)
    return counted is not None and Decimal(counted) >= Decimal(threshold)


def _text(published: dict[str, object], name: str) -> str | None:
    value = published.get(name)
    return value if isinstance(value, str) else None
