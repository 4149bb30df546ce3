"""Our own form: parts of a unit by vote type, figures that are held back, and what stands beside the figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingest.feeds.statement import Rejection, Snapshot, Statement, by_our_clock
from ingest.feeds.vote_types import MOST_PARTS, type_of
from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.figures import figures, repeats
from ingest.publish.encode import encode_all
from schemas.codec import decode
from schemas.count_update import Code, Counts, CountUpdate
from schemas.types import CountStatus, ReportingUnitType, VoteType
from tests.support.ingest_samples import kept, parse
from tests.support.small_contest import small

CONTEST = small()
AT = "2020-11-03T21:30:00-05:00"
HEAD = "contest_id,unit_type,unit_id,area_path,reported_at,votes.lee,votes.roe,ballots_cast"
FIGURES = "ballots_cast", "undervotes", "overvotes"


def row(unit: str, *cells: object, kind: str = "precinct") -> str:
    return f"ny-2020-president,{kind},{unit},broome,{AT},{','.join(map(str, cells))}\n"


def snapshots(text: str) -> tuple[Snapshot, ...]:
    return parse(kept(text), of=CONTEST)


def statements(text: str) -> list[Statement]:
    return [s for snapshot in snapshots(text) for s in snapshot.statements]


def rejections(text: str) -> list[Rejection]:
    return [r for snapshot in snapshots(text) for r in snapshot.rejections]


def only(text: str) -> Statement:
    assert not rejections(text)
    (statement,) = statements(text)
    return statement


def counts(statement: Statement) -> Counts:
    assert statement.counts is not None
    return statement.counts


def by_type(*rows: tuple[object, ...], columns: str = "", unit: str = "CP01") -> str:
    """A document in which each row of one unit is votes of a type: the type, then the figures."""
    return f"{HEAD}{columns},vote_type\n" + "".join(row(unit, *cells, word) for word, *cells in rows)


MODES = (("absentee", 89, 40, 133), ("early_voting", 2, 2, 4), ("election_day", 0, 2, 3), ("provisional", 1, 1, 2))


def test_parts_of_a_unit_by_vote_type_are_one_statement() -> None:
    found = only(by_type(*MODES))
    whole = counts(found)
    assert (whole.votes, whole.ballots_cast) == ({"lee": 92, "roe": 45}, 142)
    assert whole.by_vote_type is not None
    assert [(p.vote_type, p.name, p.votes["lee"], p.ballots_cast) for p in whole.by_vote_type] == [
        (VoteType.ELECTION_DAY, "election_day", 0, 3),
        (VoteType.EARLY, "early_voting", 2, 4),
        (VoteType.ABSENTEE, "absentee", 89, 133),
        (VoteType.PROVISIONAL, "provisional", 1, 2),
    ]
    assert [document.place for document in found.documents] == ["rows 2 to 5"]
    assert found.original == "".join(by_type(*MODES).splitlines(keepends=True)[1:]).encode()


def test_the_order_of_the_parts_is_irrelevant() -> None:
    assert counts(only(by_type(*MODES))) == counts(only(by_type(*reversed(MODES))))


def test_a_figure_that_a_part_lacks_is_not_stated_of_the_whole() -> None:
    whole = counts(only(by_type(("Early", 3, 4, ""), ("Mail", 5, 6, 11))))
    assert (whole.votes, whole.ballots_cast) == ({"lee": 8, "roe": 10}, None)


@pytest.mark.parametrize("word", ["", "total", "Total"])
def test_a_row_that_is_the_whole_is_published_as_stated(word: str) -> None:
    """A rule compares it with its parts (F115); where it lacks a figure, the parts have it."""
    whole = counts(only(by_type((word, 9, "", 19), ("Early", 3, 4, 7), ("Mail", 5, 6, 11))))
    assert (whole.votes, whole.ballots_cast) == ({"lee": 9, "roe": 10}, 19)
    assert whole.by_vote_type is not None
    assert len(whole.by_vote_type) == 2


def test_a_unit_without_parts_is_as_without_the_column() -> None:
    whole = counts(only(by_type(("", 9, 1, 10))))
    assert (whole.by_vote_type, whole.ballots_cast) == (None, 10)


def test_a_selection_that_is_not_on_the_ballots_of_one_type_is_counted_of_the_others() -> None:
    whole = counts(only(by_type(("Early", 3, "not on ballot", 3), ("Mail", 5, 6, 11))))
    assert whole.votes == {"lee": 8, "roe": 6}
    assert whole.by_vote_type is not None
    assert whole.by_vote_type[0].votes == {"lee": 3}


def test_what_one_type_holds_back_is_held_back_of_the_whole() -> None:
    whole = counts(only(by_type(("Early", "suppressed", 4, ""), ("Mail", 5, 6, 11))))
    assert (whole.votes, whole.suppressed) == ({"lee": None, "roe": 10}, ("votes.lee",))
    stated = counts(only(by_type(("Early", "suppressed", 4, ""), ("Mail", 5, 6, 11), ("", 7, 10, 17))))
    assert (stated.votes, stated.suppressed) == ({"lee": 7, "roe": 10}, None)


def test_voters_are_those_of_the_unit_and_no_sum() -> None:
    document = by_type(("Early", 3, 4, 7, 300), ("Mail", 5, 6, 11, ""), columns=",registered_voters")
    assert counts(only(document)).registered_voters == 300


@pytest.mark.parametrize(
    ("columns", "first", "second", "says"),
    [
        (",registered_voters", "300", "301", "registered_voters of precinct CP01 is 300 in row 2, and 301 in row 3"),
        (",count_status", "COUNTED", "IN_PROCESS", "count_status of precinct CP01 is COUNTED in row 2, and IN_PROCESS"),
        (",recount", "1", "2", "recount of precinct CP01 is 1 in row 2, and 2 in row 3"),
    ],
)
def test_parts_that_contradict_each_other_are_rejected_whole(columns: str, first: str, second: str, says: str) -> None:
    document = by_type(("Early", 3, 4, 7, first), ("Mail", 5, 6, 11, second), columns=columns)
    assert not statements(document)
    found = rejections(document)
    assert [(r.finding.code, r.place.split(",")[0]) for r in found] == [("F205", "row 2"), ("F205", "row 3")]
    assert all(says in r.finding.message for r in found)


def test_without_one_of_its_parts_a_unit_is_not_published() -> None:
    """The sum would lack it. Other units are, and so is a row that is the whole."""
    parts = ("Early", 3, "4.5", 7), ("Mail", 5, 6, 11)
    document = by_type(*parts) + row("CP02", 1, 1, 2, "Mail")
    assert [s.unit.id for s in statements(document)] == ["CP02"]
    bad, other = rejections(document)
    assert (bad.finding.code, other.finding.code) == ("F201", "F205")
    assert other.finding.message == "precinct CP01 is stated in parts, and others of them are rejected: row 2"
    (whole,) = statements(by_type(*parts, ("Total", 8, 10, 18)))
    assert (counts(whole).votes, counts(whole).by_vote_type) == ({"lee": 8, "roe": 10}, None)


def test_a_part_that_is_there_twice() -> None:
    same = by_type(("Early", 3, 4, 7), ("early", 3, 4, 7), ("Mail", 5, 6, 11))
    assert not statements(same), "the rows differ in a letter"
    same = by_type(("Early", 3, 4, 7), ("Early", 3, 4, 7), ("Mail", 5, 6, 11))
    (found,) = statements(same)
    assert counts(found).ballots_cast == 18
    (repeated,) = rejections(same)
    assert repeated.finding.message == "precinct CP01, early, is repeated from row 2"
    differ = by_type(("Early", 3, 4, 7), ("Early", 2, 4, 6), ("Mail", 5, 6, 11))
    assert not statements(differ)
    assert [r.finding.code for r in rejections(differ)] == ["F203", "F203", "F205"]


def test_too_many_parts_are_refused() -> None:
    document = by_type(*((f"type {n}", 1, 1, 2) for n in range(MOST_PARTS + 1)))
    assert not statements(document)
    assert rejections(document)[0].finding.message == "precinct CP01 is stated in 101 parts"


def test_a_percentage_of_one_part_is_left_out_and_told() -> None:
    found = only(by_type(("Early", 3, 4, 7, "61.2"), ("Mail", 5, 6, 11, ""), columns=",published.turnout"))
    assert found.published_percentages is None
    assert [odd.finding.message for odd in found.left_out] == ["percentages of one vote type: left out"]


@pytest.mark.parametrize(
    ("word", "vote_type"),
    [
        ("Election Day", VoteType.ELECTION_DAY),
        ("ELECTION_DAY", VoteType.ELECTION_DAY),
        ("Early Voting", VoteType.EARLY),
        ("Absentee", VoteType.ABSENTEE),
        ("Absentee-in-Person", VoteType.ABSENTEE_IN_PERSON),
        ("Vote by Mail", VoteType.ABSENTEE_MAIL),
        ("UOCAVA", VoteType.ABSENTEE_UOCAVA),
        ("overseas", VoteType.ABSENTEE_UOCAVA),
        ("Provisional", VoteType.PROVISIONAL),
        ("Grace period", VoteType.OTHER),
    ],
)
def test_the_offices_words_for_vote_types(word: str, vote_type: VoteType) -> None:
    assert type_of(word) is vote_type


def test_without_the_column_the_message_says_that_it_exists() -> None:
    for rejection in rejections(f"{HEAD}\n{row('1', 89, 40, 133)}{row('1', 2, 2, 4)}"):
        assert rejection.finding.code == "F203"
        assert "rows of one unit can be kept apart by a column vote_type" in rejection.expected


def test_a_figure_that_is_held_back_is_null_and_named() -> None:
    found = counts(only(f"{HEAD}\n{row('1', 'suppressed', 5, 'suppressed')}"))
    assert (found.votes, found.ballots_cast) == ({"lee": None, "roe": 5}, None)
    assert found.suppressed == ("votes.lee", "ballots_cast")


@pytest.mark.parametrize("word", ["Suppressed", "*", "n/a", "< 10", "—"])
def test_other_words_are_refused(word: str) -> None:
    (rejection,) = rejections(f"{HEAD}\n{row('1', word, 5, 15)}")
    assert rejection.finding.code == "F201"


def test_what_stands_beside_the_figures() -> None:
    columns = ",undervotes,overvotes,signed_at,registered_at,recount,counted_with,channel,source_authority"
    columns += ",rules_version,code:state"
    signed, registered = "2020-11-03T20:00:00-05:00", "2020-11-03T21:00:00-05:00"
    cells = 10, 5, 18, 2, 1, signed, registered, 1, " CP 7 ", "courier", "City clerk", "2020-09", "NY-031"
    found = only(f"{HEAD}{columns}\n{row('CP  1', *cells)}")
    assert tuple(getattr(counts(found), name) for name in FIGURES) == (18, 2, 1)
    assert found.signed_at == datetime(2020, 11, 4, 1, tzinfo=UTC)
    assert found.registered_at == datetime(2020, 11, 4, 2, tzinfo=UTC)
    assert (found.recount, found.rules_version) == (1, "2020-09")
    assert (found.authority, found.channel) == ("City clerk", "courier")
    assert (found.unit.id, found.unit.office_id, found.unit.counted_with) == ("CP 1", "CP  1", "CP 7")
    assert found.unit.codes == (Code(registry="state", value="NY-031"),)
    plain = only(f"{HEAD}\n{row('CP 1', 10, 5, 15)}")
    assert (plain.unit.office_id, plain.unit.codes, plain.recount, plain.signed_at) == (None, None, None, None)


@pytest.mark.parametrize(
    ("word", "kind"), [("other:Postal\u00a0 votes ", "other:Postal votes"), ("\u00a0precinct", "precinct")]
)
def test_a_type_is_brought_into_its_normal_form(word: str, kind: str) -> None:
    found = only(f"{HEAD}\n{row('1', 10, 5, 15)}".replace(",precinct,", f",{word},"))
    assert found.unit.type == kind


def test_by_our_clock_what_the_office_registered_stands_earlier_too() -> None:
    """The offset is of the office's clock; a sheet is signed by another one."""
    text = f"{HEAD},signed_at,registered_at\n{row('1', 10, 5, 15, AT, AT)}"
    (snapshot,) = snapshots(text)
    (ours,) = by_our_clock(snapshot, timedelta(hours=1)).statements
    (office,) = snapshot.statements
    assert ours.reported_at == ours.registered_at == office.stated_at - timedelta(hours=1)
    assert ours.signed_at == office.signed_at == office.stated_at


def test_what_is_odd_beside_the_figures_costs_no_votes() -> None:
    columns = ",signed_at,code:state"
    found = only(f"{HEAD}{columns}\n{row('1', 10, 5, 15, '8 pm', 'x' * 201)}")
    assert counts(found).ballots_cast == 15
    assert (found.signed_at, found.unit.codes) == (None, None)
    (odd,) = found.left_out
    assert (odd.finding.code, odd.place) == ("F112", "row 2, column code:state")
    assert "'8 pm' is not a time with its zone in signed_at" in odd.finding.message


def test_a_recount_is_the_first_or_a_later_one() -> None:
    for text in ("0", "yes"):
        (rejection,) = rejections(f"{HEAD},recount\n{row('1', 10, 5, 15, text)}")
        assert (rejection.finding.code, rejection.place) == ("F201", "row 2, column recount")


def test_a_code_needs_the_name_of_its_register() -> None:
    (rejection,) = rejections(f"{HEAD},code:\n{row('1', 10, 5, 15, 7)}")
    assert rejection.finding.message == "row 1: column code: is unknown"


def test_a_unit_of_another_type_stands_in_an_area_and_adds() -> None:
    found = only(f"{HEAD}\n{row('postal', 100, 50, 150, kind='other:Postal votes')}")
    assert (found.unit.type, found.unit.area_path) == ("other:Postal votes", ("us", "ny", "broome"))
    for kind in ("postal", "other:"):
        (rejection,) = rejections(f"{HEAD}\n{row('postal', 100, 50, 150, kind=kind)}")
        assert rejection.finding.code in ("F204", "F202")
    (rejection,) = rejections(f"{HEAD}\n{row('postal', 100, 50, 150, kind='other:Postal').replace('broome', '')}")
    assert rejection.finding.code == "F302"


def test_a_change_of_anything_that_is_stated_is_a_new_statement() -> None:
    columns = ",undervotes,overvotes,signed_at,registered_at,recount,counted_with,rules_version"
    usual: list[object] = [10, 5, 18, 2, 1, AT, AT, 1, "CP7", "2020-09"]
    first = only(f"{HEAD}{columns}\n{row('1', *usual)}")
    before = figures(first.unit, first, one_vote=True)
    for place, cell in enumerate((11, 6, 19, 3, 0, AT.replace("21", "20"), AT.replace("21", "20"), 2, "CP8", "2021")):
        changed = list(usual)
        changed[place] = cell
        other = only(f"{HEAD}{columns}\n{row('1', *changed)}")
        assert not repeats(before, figures(other.unit, other, one_vote=True)), cell
    held = only(f"{HEAD}{columns}\n{row('1', *['suppressed', *usual[1:]])}")
    missing = only(f"{HEAD}{columns}\n{row('1', *['', *usual[1:]])}")
    assert not repeats(figures(held.unit, held, one_vote=True), figures(missing.unit, missing, one_vote=True))


def test_what_stands_beside_the_figures_is_not_withdrawn_by_a_document_without_it() -> None:
    columns = ",signed_at,registered_at,recount,rules_version"
    first = only(f"{HEAD}{columns}\n{row('1', 10, 5, 15, AT, AT, 1, '2020-09')}")
    plain = only(f"{HEAD}\n{row('1', 10, 5, 15)}")
    assert repeats(figures(first.unit, first, one_vote=True), figures(plain.unit, plain, one_vote=True))
    assert not repeats(figures(plain.unit, plain, one_vote=True), figures(first.unit, first, one_vote=True))
    modes, whole = only(by_type(*MODES)), only(f"{HEAD}\n{row('CP01', 92, 45, 142)}")
    assert repeats(figures(modes.unit, modes, one_vote=True), figures(whole.unit, whole, one_vote=True))
    moved = only(by_type(("absentee", 88, 40, 132), ("early_voting", 3, 2, 5), *MODES[2:]))
    assert not repeats(figures(modes.unit, modes, one_vote=True), figures(moved.unit, moved, one_vote=True)), (
        "the same sums, other parts"
    )


NEW_FIELDS = {
    "undervotes and overvotes": (",undervotes,overvotes", (10, 5, 18, 2, 1), (10, 5, 18, 1, 2)),
    "held back": ("", ("suppressed", 5, 18), (10, 5, 18)),
    "not stated, then held back": ("", ("", 5, 18), ("suppressed", 5, 18)),
    "a time of signature": (",signed_at", (10, 5, 15, AT), (10, 5, 15, AT.replace("21:", "20:"))),
    "a recount": (",recount", (10, 5, 15, ""), (10, 5, 15, 1)),
    "counted with another": (",counted_with", (10, 5, 15, ""), ("", "", "", "CP7")),
    "rules": (",rules_version", (10, 5, 15, "2020-09"), (10, 5, 15, "2020-10")),
    "another word": (
        ",channel,source_authority,code:state",
        (10, 5, 15, "courier", "City", "7"),
        (11, 5, 16, "", "", ""),
    ),
    "votes by type": (",vote_type", (10, 5, 15, "early"), (10, 5, 15, "mail")),
}


@pytest.mark.parametrize(("columns", "first", "second"), NEW_FIELDS.values(), ids=NEW_FIELDS.keys())
def test_what_is_published_is_known_again_from_the_log_and_a_change_is_news(
    columns: str, first: tuple[object, ...], second: tuple[object, ...]
) -> None:
    """The memory of a later run is what the log says: an event goes through the wire, whole."""
    on_log: list[CountUpdate] = []
    for cells in (first, second):
        text = f"{HEAD}{columns}\n{row('1', *cells)}"
        memory = ContestMemory(CONTEST)
        assert remember(memory, *on_log)
        found = changes_since(snapshots(text), memory)
        assert (len(found.events), found.known, len(found.rejections)) == (1, 0, 0)
        for message in encode_all(found.events.items):
            event = decode(message.value, message.headers)
            assert isinstance(event, CountUpdate)
            on_log.append(event)
        assert on_log[-1:] == list(found.events)
        again = ContestMemory(CONTEST)
        assert remember(again, *on_log)
        repeated = changes_since(snapshots(text), again)
        assert (len(repeated.events), repeated.known) == (0, 1)


def test_the_types_of_the_contract_are_read() -> None:
    for kind in ReportingUnitType:
        text = f"{HEAD}\n{row('x', 1, 1, 2, kind=kind.value)}"
        found = [*statements(text), *rejections(text)]
        assert len(found) == 1, kind
    assert only(f"{HEAD}\n{row('x', 1, 1, 2)}").count_status is CountStatus.COUNTED
