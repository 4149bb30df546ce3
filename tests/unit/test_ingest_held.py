"""Rows that are no units: totals of others, and ids that differ by leading zeros alone, are held until confirmed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.news.changes import Changes, adopt, changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.news.held import held
from schemas.contest import ContestDefined
from schemas.identity import NIL, named, text_of
from schemas.unit_roll import RollUnit, UnitRoll
from tests.support.ingest_samples import ACTA, ACTA_HEADER, ACTA_ROWS, DATA, contest, kept, needs_data, parse, read_file
from tests.support.small_contest import AREAS, TOML, small

CONTEST = small()
AT = "2020-11-03T21:30:00-05:00"
HEAD = "contest_id,unit_type,unit_id,area_path,reported_at,votes.lee,votes.roe,ballots_cast\n"
P1, P2 = ("P1", 100, 50, 150), ("P2", 40, 60, 100)


def row(unit: str, *cells: object, area: str = "broome", kind: str = "precinct", at: str = AT) -> str:
    return f"ny-2020-president,{kind},{unit},{area},{at},{','.join(map(str, cells))}\n"


def loaded(memory: ContestMemory, text: str) -> Changes:
    found = changes_since(parse(kept(text), of=memory.definition), memory)
    adopt(memory, found)
    return found


def outcome(found: Changes) -> tuple[list[str], dict[str, str]]:
    """The units that are published, and the codes of those rejected, by place."""
    published = [event.reporting_unit.id for event in found.events]
    return published, {rejection.place: rejection.finding.code for rejection in found.rejections}


def of(*rows: str, head: str = HEAD) -> tuple[list[str], dict[str, str]]:
    return outcome(loaded(ContestMemory(CONTEST), head + "".join(rows)))


def confirming(contest: ContestDefined, *units: str) -> ContestDefined:
    """The contest's next revision, which says that these are units of their own."""
    changed = {"confirmed_units": units, "revision": contest.revision + 1, "previous_event_id": contest.event_id}
    return named(contest.model_copy(update={**changed, "event_id": NIL}))


def test_total_rows_are_held_and_do_not_save_each_other() -> None:
    totals = row("Total", 140, 110, 250), row("County Totals", 140, 110, 250)
    assert of(row(*P1), row(*P2), *totals) == (["P1", "P2"], {"row 4": "F209", "row 5": "F209"})
    assert of(*totals, row(*P1), row(*P2)) == (["P1", "P2"], {"row 2": "F209", "row 3": "F209"})


def test_the_message_names_the_sum_and_what_releases_it() -> None:
    (rejection,) = loaded(ContestMemory(CONTEST), HEAD + row(*P1) + row(*P2) + row("Total", 140, 110, 250)).rejections
    assert rejection.finding.message == (
        "every figure of precinct/Total is the sum of 2 other units in Broome: P1, P2; if it is a unit of its own, "
        'add "precinct/Total" to confirmed_units of the contest\'s file, define it, and load again'
    )


def test_a_unit_that_is_confirmed_is_published_when_it_is_loaded_again() -> None:
    memory = ContestMemory(CONTEST)
    text = HEAD + row(*P1) + row(*P2) + row("P3", 140, 110, 250) + row("P4", 140, 110, 250)
    assert outcome(loaded(memory, text)) == (["P1", "P2"], {"row 4": "F209", "row 5": "F209"})
    memory.definition = confirming(CONTEST, "precinct/P3")
    found = loaded(memory, text)
    assert [event.reporting_unit.id for event in found.events] == ["P3"]
    memory.definition = confirming(memory.definition, "precinct/P3", "precinct/P4")
    assert outcome(loaded(memory, text)) == (["P4"], {})


def test_totals_of_areas_at_every_depth_are_found() -> None:
    rows = (
        row(*P1),
        row(*P2),
        row("Broome total", 140, 110, 250),
        row("K1", 7, 8, 15, area="kings"),
        row("K2", 9, 2, 11, area="kings"),
        row("Kings total", 16, 10, 26, area="kings"),
        row("All", 156, 120, 276, area="ny"),
        row("Grand total", 156, 120, 276, area="us"),
    )
    assert of(*rows) == (["P1", "P2", "K1", "K2"], {f"row {n}": "F209" for n in (4, 7, 8, 9)})


def test_a_total_of_the_whole_document_may_stand_in_one_of_its_areas() -> None:
    rows = row(*P1), row("K1", 7, 8, 15, area="kings"), row("Total", 107, 58, 165, area="kings")
    assert of(*rows) == (["P1", "K1"], {"row 4": "F209"})


@pytest.mark.parametrize(
    "rows",
    [
        [row(*P1), row("P2", 100, 50, 150)],
        [row(*P1), row("P2", 0, 0, 0), row("P3", 100, 50, 150)],
        [row("P1", 0, 0, 0), row("P2", 0, 0, 0), row("P3", 0, 0, 0)],
        [row(*P1), row(*P2), row("P3", 140, 110, 251)],
        [row(*P1), row(*P2), row("P3", 140, 109, 249)],
        [row(*P1), row(*P2), row("P3", 130, 120, 250)],
        [row(*P1), row(*P2), row("P3", "", "", 250)],
        [row(*P1), row(*P2), row("P3", 7, 7, 14), row("P4", 140, 110, 250)],
        [row(*P1), row("P2", 40, 60, 100, area="kings"), row("P3", 99, 1, 100, area="kings")],
    ],
    ids=["one other", "one other with votes", "zeros", "other ballots", "other votes", "same sum", "no votes",
         "some others", "another area"],
)  # fmt: skip
def test_what_is_no_sum_of_two_others_is_published(rows: Sequence[str]) -> None:
    assert of(*rows)[1] == {}


def test_a_figure_that_others_do_not_state_is_not_compared() -> None:
    head = HEAD.replace("\n", ",registered_voters,blank_votes\n")
    rows = row(*P1, "", 0), row(*P2, "", 0), row("Total", 140, 110, 250, 900, "")
    assert of(*rows, head=head)[1] == {"row 4": "F209"}
    rows = row(*P1, 300, ""), row(*P2, 300, ""), row("P3", 140, 110, 250, 900, "")
    assert of(*rows, head=head)[1] == {}


def test_areas_beside_which_nothing_is_added_up_are_not_held_and_not_counted_in_a_sum() -> None:
    rows = row(*P1), row(*P2), row("broome", 140, 110, 250, kind="county", area="")
    assert of(*rows) == (["P1", "P2", "broome"], {})
    assert of(*rows, row("Total", 140, 110, 250))[1] == {"row 5": "F209"}


POSTAL = small(TOML.replace('["precinct"]', '[["precinct", "county", "other:postal"]]'))
"""Postal votes are added up beside the precincts: of a county, or by units of their own."""


def test_an_area_that_is_added_up_beside_other_units_and_is_their_sum_is_held() -> None:
    rows = row(*P1), row(*P2), row("broome", 140, 110, 250, kind="county", area="")
    found = loaded(ContestMemory(POSTAL), HEAD + "".join(rows))
    assert outcome(found) == (["P1", "P2"], {"row 4": "F209"})
    assert "county/broome is the sum of 2 other units in Broome" in next(iter(found.rejections)).finding.message
    assert outcome(loaded(ContestMemory(confirming(POSTAL, "county/broome")), HEAD + "".join(rows)))[1] == {}
    votes = row("broome", 7, 8, 15, kind="county", area="")
    whole = *rows[:2], votes, row("Total", 147, 118, 265), row("kings", 3, 1, 4, kind="county", area="")
    assert outcome(loaded(ContestMemory(POSTAL), HEAD + "".join(whole))) == (
        ["P1", "P2", "broome", "kings"], {"row 5": "F209"},
    )  # fmt: skip


def test_units_of_the_office_s_own_type_have_totals_too() -> None:
    kind = "other:postal"
    rows = row("B1", 100, 0, 100, kind=kind), row("B2", 150, 50, 200, kind=kind)
    total = row("Total postal", 250, 50, 300, kind=kind)
    for rest in ("", row(*P1) + row(*P2)):
        found = loaded(ContestMemory(POSTAL), HEAD + rest + "".join(rows) + total)
        assert list(outcome(found)[1].values()) == ["F209"]
        assert "other:postal/Total postal" in next(iter(found.rejections)).finding.message


def test_areas_that_are_all_that_is_added_up_are_not_held() -> None:
    counties = small(TOML.replace('["precinct"]', '["county"]'), AREAS + "queens,Queens,county,ny\n")
    rows = [row(*cells, kind="county", area="") for cells in
            (("broome", 100, 50, 150), ("kings", 40, 60, 100), ("queens", 140, 110, 250))]  # fmt: skip
    assert outcome(loaded(ContestMemory(counties), HEAD + "".join(rows)))[1] == {}


# --- subtotals of groups that are no areas

P3, P4 = ("P3", 7, 8, 15), ("P4", 9, 2, 11)
CITY_A, CITY_B, TOTAL = ("City A", 140, 110, 250), ("City B", 16, 10, 26), ("Total", 156, 120, 276)


def test_subtotals_of_groups_in_one_area_are_held_and_the_total_of_all() -> None:
    rows = [row(*cells) for cells in (P1, P2, CITY_A, P3, P4, CITY_B, TOTAL)]
    assert of(*rows) == (["P1", "P2", "P3", "P4"], {f"row {n}": "F209" for n in (4, 7, 8)})
    found = loaded(ContestMemory(CONTEST), HEAD + "".join(rows[:3] + rows[3:6]))
    assert [f.finding.message.partition(";")[0] for f in found.rejections] == [
        "every figure of precinct/City A is the sum of 2 other units directly before it: P1, P2",
        "every figure of precinct/City B is the sum of 2 other units directly before it: P3, P4",
    ]


def test_subtotals_of_subtotals_and_repeated_ones_are_held() -> None:
    far = row("P5", 1, 2, 3), row("P6", 2, 4, 6), row("City C", 3, 6, 9), row("District 2", 3, 6, 9)
    rows = [row(*cells) for cells in (P1, P2, CITY_A, P3, P4, CITY_B, ("District 1", *TOTAL[1:]))]
    total = row("Total", 159, 126, 285)
    published, rejected = of(*rows, *far, total, row("P7", 5, 5, 10))
    assert published == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
    assert set(rejected) == {f"row {n}" for n in (4, 7, 8, 11, 12, 13)}


@pytest.mark.parametrize(
    "rows",
    [
        [row(*P3), row(*P1), row(*P2), row(*CITY_A)],
        [row(*P1), row(*P2), row("City A", 140, 110, 251), row(*P3), row(*P4)],
        [row(*P1), row("P2", 40, 60, 100, at=AT.replace("21:30", "21:00")), row(*CITY_A), row(*P3)],
        [row(*P1), row("P2", 40, 60, 100, kind="polling-place"), row(*CITY_A), row(*P3)],
        [row(*P1), row("P2", 0, 0, 0), row("P9", 100, 50, 150), row(*P3)],
    ],
    ids=["not from the begin", "other ballots", "another time", "another type", "one with votes"],
)  # fmt: skip
def test_what_is_not_the_sum_of_all_directly_before_it_is_published(rows: Sequence[str]) -> None:
    assert of(*rows)[1] == {}


def test_a_confirmed_row_is_no_subtotal_and_is_a_part() -> None:
    memory = ContestMemory(confirming(CONTEST, "precinct/City A"))
    rows = row(*P1), row(*P2), row(*CITY_A), row(*P3), row("City B", 287, 228, 515), row(*P4)
    assert outcome(loaded(memory, HEAD + "".join(rows)))[1] == {"row 6": "F209"}


def test_endless_totals_of_totals_cost_no_endless_time() -> None:
    many = [row(f"T{n:05}", 140 + n % 2, 110, 250 + n % 2) for n in range(5_000)]
    snapshots = parse(kept(HEAD + row(*P1) + row(*P2) + "".join(many)), of=CONTEST)
    assert len(held(snapshots, ContestMemory(CONTEST))) < 100


@pytest.mark.parametrize("total", [(140, 110, 250), (150, 120, 270)], ids=["of the precincts", "of all"])
def test_a_total_may_leave_out_the_units_of_another_type(total: tuple[int, ...]) -> None:
    postal = row("postal", 10, 10, 20, kind="other:Postal")
    assert of(row(*P1), row(*P2), postal, row("Total", *total)) == (["P1", "P2", "postal"], {"row 5": "F209"})


def test_in_a_document_of_several_times_totals_are_found_in_each_and_over_the_last() -> None:
    later = AT.replace("21:30", "22:30")
    each = row(*P1), row(*P2), row("Total", 140, 110, 250)
    series = (*each, row("P1", 101, 50, 151, at=later), row("P2", 41, 60, 101, at=later))
    assert of(*series)[1] == {"row 4": "F209"}
    own_times = row(*P1, at=AT.replace(":30", ":10")), row(*P2), row("Total", 140, 110, 250, at=later)
    assert of(*own_times)[1] == {"row 4": "F209"}


@given(st.data())
def test_a_total_that_is_added_to_any_document_is_held_and_nothing_else(data: st.DataObject) -> None:
    """Votes are powers of two times one figure of each row, so that no row is the sum of others."""
    number = data.draw(st.integers(2, 12))
    rows = [(f"P{n}", 2**n, data.draw(st.integers(0, 9)), 2**n + 9) for n in range(number)]
    counties = [data.draw(st.sampled_from(["broome", "kings"])) for _ in rows]
    totals = [(f"T{n}", *(sum(column) for column in list(zip(*rows, strict=True))[1:])) for n in range(1, 4)]
    texts = [row(*cells, area=area) for cells, area in zip(rows, counties, strict=True)]
    texts += [row(*cells, area=data.draw(st.sampled_from(["broome", "kings", "ny"]))) for cells in totals]
    found = loaded(ContestMemory(CONTEST), HEAD + "".join(data.draw(st.permutations(texts))))
    assert {event.reporting_unit.id for event in found.events} == {name for name, *_ in rows}
    assert {rejection.finding.code for rejection in found.rejections} == {"F209"}


def test_with_a_roll_nothing_is_held_and_what_is_not_on_it_is_rejected_by_it() -> None:
    memory = ContestMemory(CONTEST)
    units = [
        RollUnit(type="precinct", id=n, area_id="broome", registered_voters=None) for n in ("P1", "P2", "P3", "01")
    ]
    roll = UnitRoll(
        event_id=NIL, contest_id=CONTEST.contest_id, revision=1, part=1, parts=1, previous_event_id=None,
        observed_at=CONTEST.effective_at, document_sha256="0" * 64, units=tuple(units),
    )  # fmt: skip
    assert memory.roll.accept(named(roll), text_of(named(roll)), CONTEST) is None
    rows = row(*P1), row(*P2), row("P3", 140, 110, 250), row("Total", 140, 110, 250), row("1", 1, 1, 2)
    found = loaded(memory, HEAD + "".join(rows))
    assert outcome(found) == (["P1", "P2", "P3"], {"row 5": "F307", "row 6": "F307"})
    assert "01" in [*found.rejections][1].finding.message


# --- ids


def test_two_ids_that_differ_by_leading_zeros_alone_are_held() -> None:
    found = loaded(ContestMemory(CONTEST), HEAD + row("001", 10, 5, 15) + row("1", 11, 5, 16) + row("2", 1, 1, 2))
    assert outcome(found) == (["2"], {"row 2": "F210", "row 3": "F210"})
    assert next(iter(found.rejections)).finding.message == (
        "precinct/001 differs by leading zeros alone from 1 in the document; if it is another unit, add "
        '"precinct/001" to confirmed_units of the contest\'s file, define it, and load again'
    )


def test_an_id_that_differs_from_one_on_the_log_is_held_and_the_known_one_is_not() -> None:
    memory = ContestMemory(CONTEST)
    loaded(memory, HEAD + row("0101", 10, 5, 15))
    found = loaded(memory, HEAD + row("101", 11, 5, 16))
    assert outcome(found) == ([], {"row 2": "F210"})
    assert "from 0101 on the log" in next(iter(found.rejections)).finding.message
    both = loaded(memory, HEAD + row("101", 11, 5, 16) + row("0101", 12, 5, 17))
    assert outcome(both) == (["0101"], {"row 2": "F210"})
    memory.definition = confirming(CONTEST, "precinct/101")
    assert outcome(loaded(memory, HEAD + row("101", 11, 5, 16))) == (["101"], {})
    memory.definition = confirming(memory.definition)
    assert outcome(loaded(memory, HEAD + row("101", 12, 5, 17))) == (["101"], {}), "it is on the log"


def test_units_of_other_types_and_other_ids_are_not_alike() -> None:
    rows = row("1", 10, 5, 15), row("01", 3, 1, 4, kind="other:Postal"), row("10", 1, 1, 2), row("0", 1, 2, 3)
    assert of(*rows)[1] == {}
    assert of(row("0", 1, 1, 2), row("00", 1, 2, 3))[1] == {"row 2": "F210", "row 3": "F210"}


# --- sheets of the office


def test_the_office_s_sheets_are_compared_by_columns_too() -> None:
    one, two = ACTA_ROWS[0], ACTA_ROWS[1]
    total = one.replace("1,", "900,", 1).replace("300,214,118,81,1,14,0", "600,440,241,168,1,30,0")
    memory = ContestMemory(contest())
    found = loaded(memory, ACTA_HEADER + one + two + total)
    assert outcome(found) == (["000001", "000002"], {"row 4": "F209"})
    again = loaded(memory, ACTA_HEADER + one + two + total)
    assert outcome(again) == ([], {"row 4": "F209"})
    assert again.known == 2


def test_an_ordinary_document_holds_nothing() -> None:
    assert held(parse(kept(ACTA)), ContestMemory(contest())) == {}
    assert held((), ContestMemory(contest())) == {}


@needs_data
def test_none_of_the_collected_sheets_is_held() -> None:
    memory = ContestMemory(contest())
    for path in sorted((DATA / "actas").iterdir())[-1:]:
        assert held(parse(read_file(path), of=memory.definition), memory) == {}
