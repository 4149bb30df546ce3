"""What is news: the rules of `ingest.news.changes`, one by one and as properties."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feeds.statement import Snapshot, Statement
from ingest.news import changes
from ingest.news.changes import Changes, adopt, changes_since, published
from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.figures import figures
from schemas.chain import broken_rules
from schemas.contest import Area, Selection
from schemas.count_update import Correction, CountUpdate, Document, ReportingUnit, UnitKey
from schemas.feed_status import FeedStatus
from schemas.identity import is_named_right, named
from schemas.identity import statement as statement_text
from schemas.types import CorrectionBasis, CountStatus, ReportingUnitType, ResultStage, ReviewReason, UpdateKind
from tests.support.strategies import a_contest, counts

START = datetime(2021, 6, 6, 5, tzinfo=UTC)
CONTEST = a_contest(
    contest_id="c",
    authority="office",
    effective_at=START,
    selections=tuple(
        Selection(selection_id=s, candidate=s, party=s, ballot_order=i, external_id=None) for i, s in enumerate("ba", 1)
    ),
    areas=(
        Area(area_id="pe", name="Perú", type=ReportingUnitType.COUNTRY, parent_id=None),
        Area(area_id="01", name="Uno", type=ReportingUnitType.STATE, parent_id="pe"),
    ),
)


def statement(
    unit: str = "000001",
    minute: int = 0,
    votes: tuple[int | None, int | None] = (5, 3),
    *,
    status: CountStatus = CountStatus.COUNTED,
    invalid: int = 0,
    reported: bool = True,
    stage: ResultStage = ResultStage.PROVISIONAL,
    path: tuple[str, ...] = ("pe", "01"),
    reason: ReviewReason | None = None,
    note: str | None = None,
) -> Statement:
    time = START + timedelta(minutes=minute)
    cast = None if None in votes else sum(n or 0 for n in votes) + invalid
    return Statement(
        unit=ReportingUnit(id=unit, type=ReportingUnitType.PRECINCT, name=None, area_path=path),
        reported_at=time if reported else None,
        stated_at=time,
        observed_at=time,
        count_status=status,
        source_status=status.value,
        review_reason=reason,
        result_stage=stage,
        office_note=note,
        counts=counts(
            dict(zip("ba", votes, strict=True)), ballots_cast=cast, blank_votes=0, invalid_votes=invalid,
            challenged_votes=0, registered_voters=300,
        ),
        sub_units=None,
        published_percentages=None,
        documents=(Document(name="x.csv", sha256="0" * 64, place=f"row {minute}"),),
        original=b"row",
    )  # fmt: skip


def snapshot(*statements: Statement) -> Snapshot:
    return Snapshot("s", "office", statements, ())


def run(memory: ContestMemory, *snapshots: Snapshot) -> changes.Changes:
    """What the snapshots bring, taken into memory as if sent."""
    found = changes_since(snapshots, memory)
    adopt(memory, found)
    return found


@pytest.fixture
def memory() -> ContestMemory:
    return ContestMemory(CONTEST)


def after(event: CountUpdate, **changed: object) -> CountUpdate:
    """The unit's next event, saying the same but for what is changed."""
    following = {"sequence": event.sequence + 1, "previous_event_id": event.event_id}
    return named(event.model_copy(update={**following, **changed}))


def retraction(of: CountUpdate, minute: int, basis: CorrectionBasis = CorrectionBasis.SOURCE_DECLARED) -> CountUpdate:
    """Withdraws what `of` said, and repeats it: it has no figures all the same."""
    correction = Correction(reason="withdrawn", basis=basis, authority="office", replaces_event_id=of.event_id)
    time = START + timedelta(minutes=minute)
    return after(of, kind=UpdateKind.RETRACTED, correction=correction, reported_at=time, observed_at=time)


def test_first_statement_begins_the_chain(memory: ContestMemory) -> None:
    (event,) = run(memory, snapshot(statement())).events
    assert (event.sequence, event.previous_event_id, event.kind) == (1, None, UpdateKind.REPORTED)
    assert is_named_right(event)


def test_next_news_follows_the_last(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    (second,) = run(memory, snapshot(statement(minute=1, votes=(6, 3)))).events
    assert (second.sequence, second.previous_event_id, second.kind) == (2, first.event_id, UpdateKind.REPORTED)


def test_same_figures_under_a_later_time_are_one_heartbeat(memory: ContestMemory) -> None:
    (event,) = run(memory, snapshot(statement())).events
    found = run(memory, snapshot(statement(minute=1)))
    assert not found.events
    (heartbeat,) = found.heartbeats
    assert heartbeat.last_event_id == event.event_id
    assert heartbeat.reported_at == START + timedelta(minutes=1)
    assert not run(memory, snapshot(statement(minute=1))).heartbeats


def test_a_document_of_sheets_that_brings_nothing_is_one_heartbeat_of_the_contest(memory: ContestMemory) -> None:
    sheets = [statement(unit=f"{n:06}", reported=False) for n in range(5)]
    assert len(run(memory, snapshot(*sheets)).events) == 5
    later = [statement(unit=f"{n:06}", minute=9, reported=False) for n in range(5)]
    (heartbeat,) = run(memory, snapshot(*later)).heartbeats
    assert (heartbeat.unit_type, heartbeat.unit_id) == ("country", "pe")


def test_a_document_with_news_is_no_heartbeat_even_when_read_again(memory: ContestMemory) -> None:
    run(memory, snapshot(statement("000001"), statement("000002")))
    mixed = snapshot(statement("000001", 1), statement("000002", 1, (9, 9)))
    assert len(run(memory, mixed).events) == 1
    again = run(memory, mixed)
    assert not again.events
    assert not again.heartbeats


def test_a_label_alone_is_no_news(memory: ContestMemory) -> None:
    run(memory, snapshot(statement()))
    assert not run(memory, snapshot(statement(minute=1, stage=ResultStage.ADJUDICATED))).events


def test_a_late_statement_is_news_and_follows_the_last_event(memory: ContestMemory) -> None:
    run(memory, snapshot(statement(minute=0)))
    (last,) = run(memory, snapshot(statement(minute=10, votes=(9, 9)))).events
    (late,) = run(memory, snapshot(statement(minute=5, votes=(7, 4)))).events
    assert (late.sequence, late.previous_event_id) == (3, last.event_id)
    assert late.kind is UpdateKind.REPORTED  # against its predecessor in official time nothing fell
    assert [s.sequence for s in memory.units[UnitKey("precinct", "000001")].said] == [1, 3, 2]


def test_a_late_repetition_is_known(memory: ContestMemory) -> None:
    run(memory, snapshot(statement(minute=0)))
    run(memory, snapshot(statement(minute=10, votes=(9, 9))))
    found = run(memory, snapshot(statement(minute=5)))
    assert (len(found.events), len(found.heartbeats), found.known) == (0, 0, 1)


def test_a_fall_is_a_correction_that_says_what_fell(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement(votes=(50, 40), invalid=7))).events
    (event,) = run(memory, snapshot(statement(minute=1, votes=(49, 45), invalid=0))).events
    assert event.kind is UpdateKind.CORRECTED
    assert event.correction is not None
    assert event.correction.reason == "b −1, ballots_cast −3, invalid_votes −7"
    assert event.correction.replaces_event_id == first.event_id
    assert event.correction.authority == "office"


@pytest.mark.parametrize(
    ("was", "now", "falls"),
    [
        (CountStatus.COUNTED, CountStatus.UNDER_REVIEW, True),
        (CountStatus.UNDER_REVIEW, CountStatus.COUNTED, False),
        (CountStatus.UNDER_REVIEW, CountStatus.ANNULLED, False),
        (CountStatus.COUNTED, CountStatus.ANNULLED, True),
        (CountStatus.PENDING, CountStatus.COUNTED, False),
    ],
)
def test_what_is_a_fall_depends_on_what_a_state_adds(
    was: CountStatus, now: CountStatus, falls: bool, memory: ContestMemory
) -> None:
    def said(status: CountStatus, minute: int) -> Statement:
        votes = (0, 0) if status is CountStatus.ANNULLED else (5, 3)
        return statement(minute=minute, votes=votes, invalid=8 if status is CountStatus.ANNULLED else 0, status=status)

    run(memory, snapshot(said(was, 0)))
    (event,) = run(memory, snapshot(said(now, 1))).events
    assert (event.kind is UpdateKind.CORRECTED) == falls


def test_fewer_votes_than_a_sheet_stated_under_review_are_a_correction(memory: ContestMemory) -> None:
    run(memory, snapshot(statement(votes=(50, 40), status=CountStatus.UNDER_REVIEW)))
    (event,) = run(memory, snapshot(statement(minute=1, votes=(49, 45), invalid=7))).events
    assert event.kind is UpdateKind.CORRECTED
    assert event.correction is not None
    assert event.correction.reason == "resolved under review: b −1"


def test_a_fall_of_an_area_whose_count_is_in_process_is_a_fall(memory: ContestMemory) -> None:
    def said(votes: tuple[int, int], minute: int) -> Statement:
        said = statement(minute=minute, votes=votes, status=CountStatus.IN_PROCESS)
        return replace(said, unit=ReportingUnit(id="pe", type=ReportingUnitType.COUNTRY, name=None, area_path=()))

    run(memory, snapshot(said((5, 3), 0)))
    (event,) = run(memory, snapshot(said((4, 3), 1))).events
    assert event.kind is UpdateKind.CORRECTED


def test_annulled_keeps_its_ballots(memory: ContestMemory) -> None:
    run(memory, snapshot(statement(votes=(5, 3))))
    (event,) = run(memory, snapshot(statement(minute=1, votes=(0, 0), invalid=8, status=CountStatus.ANNULLED))).events
    assert event.correction is not None
    assert event.correction.reason == "b −5, a −3, valid_votes −8"


def test_a_statement_that_breaks_a_rule_is_rejected_and_not_remembered(memory: ContestMemory) -> None:
    found = run(memory, snapshot(statement(path=("pe", "99")), statement("000002")))
    (rejection,) = found.rejections
    assert rejection.finding.code == "F302"
    assert rejection.original == b"row"
    assert [event.reporting_unit.id for event in found.events] == ["000002"]
    assert UnitKey("precinct", "000001") not in memory.units


def test_figures_that_contradict_each_other_are_published_and_found(memory: ContestMemory) -> None:
    wrong = statement(votes=(500, 3))  # more than the 300 registered
    found = run(memory, snapshot(wrong))
    assert len(found.events) == 1
    assert [finding.code for _, finding in found.findings] == ["F108"]


def test_an_event_that_does_not_chain_is_counted_and_not_followed(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    other = ContestMemory(CONTEST)
    remember(other, first)
    remember(other, first)
    assert other.unchained == 1
    assert other.units[UnitKey("precinct", "000001")].sequence == 1


def test_a_changed_review_reason_alone_is_news(memory: ContestMemory) -> None:
    for minute, reason in enumerate((ReviewReason.ILLEGIBLE, ReviewReason.ILLEGIBLE, ReviewReason.OTHER)):
        found = run(memory, snapshot(statement(minute=minute, status=CountStatus.UNDER_REVIEW, reason=reason)))
        assert len(found.events) == (minute != 1)


def test_a_note_is_news_when_it_comes_or_changes(memory: ContestMemory) -> None:
    notes = (None, "sheet 12 typed in anew", "sheet 12 typed in anew", "and sheet 13")
    found = [run(memory, snapshot(statement(minute=minute, note=note))) for minute, note in enumerate(notes)]
    assert [len(f.events) for f in found] == [1, 1, 0, 1]
    assert [event.office_note for f in found for event in f.events] == [None, notes[1], notes[3]]
    assert all(event.kind is UpdateKind.REPORTED for f in found for event in f.events)


def test_the_same_figures_without_the_note_only_repeat(memory: ContestMemory) -> None:
    (noted,) = run(memory, snapshot(statement(note="typed in anew"))).events
    other_document = run(memory, snapshot(statement()))  # of the same time, with no place for a note
    assert (other_document.known, other_document.heartbeats) == (1, [])
    (heartbeat,) = run(memory, snapshot(statement(minute=1))).heartbeats
    assert heartbeat.last_event_id == noted.event_id
    (other,) = run(memory, snapshot(statement(minute=1, votes=(6, 3)))).events
    assert other.office_note is None
    assert not run(memory, snapshot(statement(minute=1))).events  # the heartbeat, met again
    assert run(memory, snapshot(statement(minute=2))).events  # without a note, but also other figures again


def test_a_note_is_remembered_from_the_log(memory: ContestMemory) -> None:
    events = run(memory, snapshot(statement(note="a")), snapshot(statement(minute=1, note="b"))).events
    again = ContestMemory(CONTEST)
    assert all(remember(again, event) for event in events)
    assert again.units == memory.units


def test_after_a_retraction_a_note_is_news_too(memory: ContestMemory) -> None:
    (noted,) = run(memory, snapshot(statement(note="a"))).events
    remember(memory, retraction(noted, 1))
    assert len(run(memory, snapshot(statement(minute=2))).events) == 1


def test_a_changed_area_path_alone_is_news(memory: ContestMemory) -> None:
    for minute, path in enumerate((("pe", "01"), ("pe", "01"), ("pe",))):
        assert len(run(memory, snapshot(statement(minute=minute, path=path))).events) == (minute != 1)


def test_what_the_fold_does_not_accept_is_not_remembered(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    (second,) = run(memory, snapshot(statement(minute=1, votes=(6, 3)))).events
    key, known = first.unit, dict(memory.units)
    refused = {
        "forged": after(second).model_copy(update={"event_id": first.event_id}),
        "altered": after(second).model_copy(update={"count_status": CountStatus.ANNULLED}),
        "repeated": second,
        "forked": after(first, count_status=CountStatus.UNDER_REVIEW),
        "of another selection": after(second, counts=second.counts.model_copy(update={"votes": {"x": 1}}))
        if second.counts
        else second,
    }
    for number, (what, event) in enumerate(refused.items(), start=1):
        assert not remember(memory, event), what
        broken = broken_rules(event, statement_text(event), CONTEST)
        assert event.sequence <= memory.units[key].sequence or any(f.refuses for f in broken), what
        assert (dict(memory.units), memory.unchained) == (known, number), what


def test_what_the_fold_accepts_is_remembered_also_after_a_gap(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    later = after(first, sequence=5)
    assert not any(f.refuses for f in broken_rules(later, statement_text(later), CONTEST))
    assert remember(memory, later)
    (event,) = run(memory, snapshot(statement(minute=1, votes=(6, 3)))).events
    assert (event.sequence, event.previous_event_id) == (6, later.event_id)


def test_after_a_retraction_the_same_statement_is_news(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    retracted = retraction(first, 1)
    assert remember(memory, retracted)
    (event,) = run(memory, snapshot(statement(minute=2))).events
    assert (event.previous_event_id, event.kind) == (retracted.event_id, UpdateKind.REPORTED)
    assert not run(memory, snapshot(statement(minute=3))).events


def corrected_by_operator(of: CountUpdate, votes: tuple[int, int]) -> CountUpdate:
    """Other figures in place of what `of` said, for its time."""
    replaced = retraction(of, 0, CorrectionBasis.OPERATOR)
    assert of.counts
    counts = of.counts.model_copy(update={"votes": dict(zip("ba", votes, strict=True)), "ballots_cast": sum(votes)})
    return after(of, kind=UpdateKind.CORRECTED, correction=replaced.correction, counts=counts)


@pytest.mark.parametrize("kind", ["corrected", "retracted"])
def test_what_an_operator_took_back_does_not_come_back_by_itself(memory: ContestMemory, kind: str) -> None:
    (first,) = run(memory, snapshot(statement())).events
    taken = (
        corrected_by_operator(first, (4, 3)) if kind == "corrected" else retraction(first, 0, CorrectionBasis.OPERATOR)
    )
    assert remember(memory, taken)
    for minute in (1, 2):
        held = run(memory, snapshot(statement(minute=minute)))
        assert [r.finding.code for r in held.rejections] == ["F208"]
        assert (list(held.events), held.heartbeats) == ([], [])
    assert run(memory, snapshot(statement())).known == 1, "an old copy"
    (other,) = run(memory, snapshot(statement(minute=3, votes=(6, 3)))).events
    assert (other.previous_event_id, other.kind) == (taken.event_id, UpdateKind.REPORTED)
    (back,) = run(memory, snapshot(statement(minute=4))).events
    assert back.kind is UpdateKind.CORRECTED, "the office has said something else since: it is the office's fall now"


def test_an_operators_figures_repeated_by_the_office_are_a_heartbeat(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    remember(memory, corrected_by_operator(first, (4, 3)))
    assert len(run(memory, snapshot(statement(minute=1, votes=(4, 3)))).heartbeats) == 1


def test_a_note_of_the_office_lets_its_figures_through(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    remember(memory, retraction(first, 0, CorrectionBasis.OPERATOR))
    assert len(run(memory, snapshot(statement(minute=1, note="we stand by it"))).events) == 1


def test_a_second_correction_still_holds_what_the_first_took_back(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    second = corrected_by_operator(first, (4, 3))
    third = corrected_by_operator(second, (3, 3))
    assert remember(memory, second)
    assert remember(memory, third)
    for minute, votes in enumerate(((5, 3), (4, 3)), start=1):
        assert run(memory, snapshot(statement(minute=minute, votes=votes))).rejections
    back = corrected_by_operator(third, (5, 3))
    assert remember(memory, back)
    assert len(run(memory, snapshot(statement(minute=3))).heartbeats) == 1


def test_a_retracted_document_read_again_is_known(memory: ContestMemory) -> None:
    (first,) = run(memory, snapshot(statement())).events
    remember(memory, retraction(first, 1))
    found = run(memory, snapshot(statement()))
    assert (len(found.events), found.known) == (0, 1)


def test_a_late_statement_is_counted_as_late_and_makes_the_next_reading_news(memory: ContestMemory) -> None:
    one, two, three = (snapshot(statement(minute=m, votes=v)) for m, v in ((1, (5, 3)), (2, (6, 3)), (3, (5, 3))))
    assert not run(memory, one, three).late
    late = run(memory, two)
    assert late.late == {event.event_id for event in late.events}
    again = run(memory, one, two, three)
    assert [event.reported_at for event in again.events] == [START + timedelta(minutes=3)]
    assert not again.late
    assert not run(memory, one, two, three).events


def test_over_several_attempts_what_is_on_the_log_is_counted_once(memory: ContestMemory) -> None:
    said = snapshot(*(statement(f"{n:06}") for n in range(5)))
    attempts: list[Changes] = []
    for _ in range(3):  # of each sending only the first two events arrive
        attempts.append(found := changes_since([said], memory))
        for event in found.events[:2]:
            remember(memory, event)
    attempts.append(changes_since([said], memory))
    found = published(attempts, memory)
    assert [event.reporting_unit.id for event in found.events] == [f"{n:06}" for n in range(5)]
    assert (found.statements, found.known) == (5, 0)


def test_an_attempt_overtaken_by_someone_else_is_not_counted(memory: ContestMemory) -> None:
    said = snapshot(statement("000001", votes=(500, 3)), statement("000002"))  # the first is published with a finding
    first = changes_since([said], memory)
    (theirs,) = changes_since([snapshot(statement("000001", votes=(501, 3)))], memory).events
    remember(memory, theirs)
    remember(memory, first.events[0])  # ours came second, and is not accepted
    remember(memory, first.events[1])
    second = changes_since([said], memory)
    for event in second.events:
        remember(memory, event)
    found = published([first, second], memory)
    assert [(e.reporting_unit.id, e.sequence) for e in found.events] == [("000002", 1), ("000001", 2)]
    assert [event.sequence for event, _ in found.findings] == [2]
    assert found.known == 0


# --- properties

units = st.sampled_from(["000001", "000002", "000003"])
statements = st.builds(
    statement,
    unit=units,
    minute=st.integers(0, 6),
    votes=st.tuples(st.integers(0, 2), st.integers(0, 1)),
    status=st.sampled_from([CountStatus.COUNTED, CountStatus.UNDER_REVIEW, CountStatus.PENDING]),
    reported=st.booleans(),
)


def in_order(said: list[Statement]) -> list[Snapshot]:
    """As an office publishes: each time once, in order, each unit stated once for it."""
    once = {(s.unit.id, s.stated_at): s for s in said}
    times: dict[datetime, list[Statement]] = {}
    for (_, time), s in sorted(once.items(), key=lambda item: item[0][1]):
        times.setdefault(time, []).append(s)
    return [snapshot(*group) for group in times.values()]


def log_of(events: list[CountUpdate]) -> dict[str, list[object]]:
    chains: dict[str, list[object]] = {}
    for event in events:
        chains.setdefault(event.reporting_unit.id, []).append(event.event_id)
    return chains


@given(st.lists(statements, max_size=20))
def test_running_twice_gives_no_news(said: list[Statement]) -> None:
    memory, snapshots = ContestMemory(CONTEST), in_order(said)
    run(memory, *snapshots)
    again = run(memory, *snapshots)
    assert not again.events
    assert not again.heartbeats
    assert again.known == again.statements


@given(st.lists(statements, max_size=20), st.data())
def test_any_split_into_runs_gives_the_same_events(said: list[Statement], data: st.DataObject) -> None:
    snapshots = in_order(said)
    at_once = run(ContestMemory(CONTEST), *snapshots)
    memory, events, heartbeats = ContestMemory(CONTEST), list[CountUpdate](), list[FeedStatus]()
    for one in snapshots:
        found = run(memory, one)
        events += found.events
        heartbeats += found.heartbeats
    assert events == at_once.events
    assert heartbeats == at_once.heartbeats
    cut = data.draw(st.integers(0, len(at_once.events)))
    rebuilt = ContestMemory(CONTEST)  # as after a crash: only the first `cut` events are on the log
    for event in at_once.events[:cut]:
        remember(rebuilt, event)
    assert run(rebuilt, *snapshots).events == at_once.events[cut:]


@given(st.lists(statements, max_size=20), st.randoms(use_true_random=False))
def test_order_of_units_is_irrelevant(said: list[Statement], chance: random.Random) -> None:
    snapshots = in_order(said)
    shuffled = [snapshot(*chance.sample(s.statements, len(s.statements))) for s in snapshots]
    one = run(ContestMemory(CONTEST), *snapshots).events
    other = run(ContestMemory(CONTEST), *shuffled).events
    assert log_of(list(one)) == log_of(list(other))


@given(st.lists(statements, max_size=15), st.randoms(use_true_random=False))
def test_late_documents_never_break_a_chain_and_settle(said: list[Statement], chance: random.Random) -> None:
    """Documents in any order: chains hold, and once all were read in order, nothing is ever news again."""
    memory, snapshots = ContestMemory(CONTEST), in_order(said)
    events: list[CountUpdate] = []
    for one in chance.sample(snapshots, len(snapshots)):
        events += run(memory, one).events
    events += run(memory, *snapshots).events
    assert not run(memory, *snapshots).events
    rebuilt = ContestMemory(CONTEST)
    for event in events:
        remember(rebuilt, event)
    assert rebuilt.unchained == 0
    assert rebuilt.units == memory.units


@given(st.lists(statements, max_size=15), st.randoms(use_true_random=False))
def test_the_latest_statement_wins_in_any_order(said: list[Statement], chance: random.Random) -> None:
    """What a reader takes as a unit's state is what the office said last, however late it arrived."""
    snapshots = in_order(said)
    memory = ContestMemory(CONTEST)
    run(memory, *chance.sample(snapshots, len(snapshots)))
    run(memory, *snapshots)
    for one in snapshots:
        for s in one.statements:
            unit = memory.units[UnitKey("precinct", s.unit.id)]
            last = max(
                (t for t in (x for o in snapshots for x in o.statements) if t.unit.id == s.unit.id),
                key=lambda t: t.stated_at,
            )
            assert unit.said[-1].figures == figures(last.unit, last, one_vote=True)
