"""A small contest and its updates, for tests that need plain ones. Properties use `strategies`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.contest import Area, ContestDefined, Level, Selection
from schemas.count_update import Correction, Counts, CountUpdate, Document, ReportingUnit, Source, SubUnits
from schemas.identity import NIL, named
from schemas.types import CorrectionBasis, CountStatus, ReportingUnitType, ResultStage, ReviewReason, UpdateKind
from schemas.unit_roll import RollUnit, UnitRoll

CONTEST = "xx-2021-test"
STARTS = datetime(2021, 6, 6, 5, tzinfo=UTC)
AREA_PATH = ("xx", "010000", "010100", "010101")


def contest(contest_id: str = CONTEST, level: Level = (ReportingUnitType.PRECINCT,)) -> ContestDefined:
    """Two selections, one area of each type."""
    types = (
        ReportingUnitType.COUNTRY,
        ReportingUnitType.STATE,
        ReportingUnitType.COUNTY,
        ReportingUnitType.MUNICIPALITY,
    )
    return named(
        ContestDefined(
            event_id=NIL,
            contest_id=contest_id,
            revision=1,
            previous_event_id=None,
            name="Test contest",
            election_name="Test election",
            election_date="2021-06-06",
            authority="ONPE",
            time_zone="America/Lima",
            effective_at=STARTS,
            selections=(
                Selection(selection_id="a", candidate="Ana", party="Party A", ballot_order=1, external_id="1"),
                Selection(selection_id="b", candidate="Bea", party="Party B", ballot_order=2, external_id="2"),
            ),
            areas=tuple(
                Area(area_id=area, name=area.upper(), type=kind, parent_id=parent)
                for area, kind, parent in zip(AREA_PATH, types, (None, *AREA_PATH[:-1]), strict=True)
            ),
            count_starts_at=STARTS,
            counting_level=level,
            later_counting_levels=(),
            expected_units=100,
            registered_voters=30_000,
            is_test=False,
        )
    )


def source(part: int = 1) -> Source:
    """Provenance of no particular document."""
    return Source(
        name="ONPE",
        snapshot_id="snapshot",
        part=part,
        parts=100,
        documents=(Document(name="sheets.csv", sha256="0" * 64, place=f"row {part}"),),
    )


def sheet(
    mesa: int,
    votes: Mapping[str, int] | None = None,
    *,
    contest_id: str = CONTEST,
    status: CountStatus = CountStatus.COUNTED,
    review_reason: ReviewReason | None = None,
    after: CountUpdate | None = None,
    hours: float = 12,
    blank: int = 1,
    invalid: int = 2,
) -> CountUpdate:
    """A tally sheet's update, following `after`, stated `hours` into election day."""
    stated = votes if votes is not None else {"a": 10, "b": 20}
    counts = Counts(
        votes=dict(stated),
        ballots_cast=sum(stated.values()) + blank + invalid,
        valid_votes=None,
        blank_votes=blank,
        invalid_votes=invalid,
        challenged_votes=0,
        registered_voters=300,
        registered_voters_counted=None,
    )
    return named(
        CountUpdate(
            event_id=NIL,
            contest_id=contest_id,
            reporting_unit=ReportingUnit(
                id=f"{mesa:06d}", type=ReportingUnitType.PRECINCT, name="A school", area_path=AREA_PATH
            ),
            **_chain(after),
            kind=UpdateKind.REPORTED,
            correction=None,
            reported_at=None,
            stated_at=STARTS + timedelta(hours=hours),
            observed_at=STARTS + timedelta(hours=hours),
            count_status=status,
            source_status=status.value,
            review_reason=review_reason,
            result_stage=ResultStage.PROVISIONAL,
            counts=counts,
            sub_units=None,
            published_percentages=None,
            source=source(mesa + 1),
            is_test=False,
        )
    )


def bulletin(
    a: int,
    b: int,
    *,
    counted: int,
    under_review: int = 0,
    total: int = 100,
    after: CountUpdate | None = None,
    hours: float = 12,
    corrected: str | None = None,
) -> CountUpdate:
    """The national bulletin of the small contest."""
    return named(
        CountUpdate(
            event_id=NIL,
            contest_id=CONTEST,
            reporting_unit=ReportingUnit(id="xx", type=ReportingUnitType.COUNTRY, name="XX", area_path=()),
            **_chain(after),
            kind=UpdateKind.CORRECTED if corrected else UpdateKind.REPORTED,
            correction=Correction(
                reason=corrected,
                basis=CorrectionBasis.INFERRED,
                authority="ONPE",
                replaces_event_id=after.event_id,
            )
            if corrected and after
            else None,
            reported_at=STARTS + timedelta(hours=hours),
            stated_at=STARTS + timedelta(hours=hours),
            observed_at=STARTS + timedelta(hours=hours, minutes=1),
            count_status=CountStatus.COUNTED,
            source_status=None,
            review_reason=None,
            result_stage=ResultStage.PROVISIONAL,
            counts=Counts(
                votes={"a": a, "b": b},
                ballots_cast=a + b,
                valid_votes=a + b,
                blank_votes=0,
                invalid_votes=0,
                challenged_votes=None,
                registered_voters=None,
                registered_voters_counted=counted * 300,
            ),
            sub_units=SubUnits(
                total=total,
                processed=counted + under_review,
                counted=counted,
                counted_normal=counted,
                annulled=0,
                not_installed=0,
                under_review=under_review,
                under_review_by_reason={"ILLEGIBLE": under_review},
                to_be_processed=total - counted - under_review,
                pending=total - counted - under_review,
            ),
            published_percentages=None,
            source=source(),
            is_test=False,
        )
    )


def revised(definition: ContestDefined, level: str, hours: float = 13) -> ContestDefined:
    """The definition with its counting level moved."""
    return named(
        definition.model_copy(
            update={
                "event_id": NIL,
                "revision": definition.revision + 1,
                "previous_event_id": definition.event_id,
                "counting_level": (level,),
                "effective_at": STARTS + timedelta(hours=hours),
            }
        )
    )


def _chain(after: CountUpdate | None) -> dict[str, Any]:
    if after is None:
        return {"sequence": 1, "previous_event_id": None}
    return {"sequence": after.sequence + 1, "previous_event_id": after.event_id}


def roll(*mesas: int) -> UnitRoll:
    """The first roll of the small contest, in one part."""
    return named(
        UnitRoll(
            event_id=NIL,
            contest_id=CONTEST,
            revision=1,
            part=1,
            parts=1,
            previous_event_id=None,
            observed_at=STARTS,
            document_sha256="0" * 64,
            units=tuple(
                RollUnit(type="precinct", id=f"{mesa:06d}", area_id=AREA_PATH[-1], registered_voters=300)
                for mesa in mesas
            ),
        )
    )
