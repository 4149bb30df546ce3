"""The real count of 6 to 9 June 2021, from the office's own files, through every part, by the commands a person types.

The whole night is loaded once; what `show` and `explain` answered on the way is kept, and each test asks one thing of
it.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.log.reader import Log
from runtime.kafka.access import KafkaAccess
from tests.acceptance.conftest import ACTAS, Night
from tests.support.fix_setup import CHECKOUT, CONTEST, EXAMPLE, STATED, Setup
from tests.support.servers import Broker

CONTRACT = (CHECKOUT / "docs" / "contract.md").read_text(encoding="utf-8")


def rows(night: Night, query: str) -> list[Any]:
    """A plain query as a reader."""
    return night.setup.database.read(query)


def test_the_figures_of_19_23_from_replay_and_from_the_tables(night: Night) -> None:
    count = night.setup.json("aggregator", "replay", CONTEST, "--to-reported", "2021-06-08T00:23Z")
    assert night.setup.json("results", "show", CONTEST, "--at-reported", "2021-06-08T00:23Z") == count | {
        "digest": None
    }
    assert _figures(count) == {
        "peru-libre": (8_548_929, "50.269", "50.269"),
        "fuerza-popular": (8_457_547, "49.731", "49.731"),
        "lead": 91_382,
        "valid, blank, null, cast": (17_006_476, 117_313, 1_026_838, 18_150_627),
        "sheets": (86_488, 82_996, 81_712, 1_284),
        "processed": ("95.962", "95.962"),
        "counted": ("94.478", "94.478"),
        "turnout": ("75.962", "75.962"),
    }
    assert count["basis"] == "OFFICIAL"
    assert count["turnout"]["of_registered_voters"] == "71.776"


def _figures(count: Any) -> dict[str, Any]:
    sub = count["sub_units"]
    return {
        **{s["selection_id"]: (s["votes"], s["share"], s["published_share"]) for s in count["selections"]},
        "lead": count["lead"],
        "valid, blank, null, cast": tuple(
            count[n] for n in ("valid_votes", "blank_votes", "invalid_votes", "ballots_cast")
        ),
        "sheets": tuple(sub[n] for n in ("total", "processed", "counted", "under_review")),
        "processed": tuple(count["sub_units_processed"].values()),
        "counted": tuple(count["sub_units_counted"].values()),
        "turnout": (count["turnout"]["of_registered_voters_counted"], count["turnout"]["published"]),
    }


def test_our_percentages_are_the_offices_in_every_bulletin(night: Night) -> None:
    different = rows(
        night,
        """
        SELECT reported_at FROM results.update_history
        WHERE unit_type = 'country' AND (
            round(100.0 * (sub_units ->> 'processed')::int / (sub_units ->> 'total')::int, 3)
                <> (published_percentages ->> 'sub_units_processed')::numeric
            OR round(100.0 * (sub_units ->> 'counted')::int / (sub_units ->> 'total')::int, 3)
                <> (published_percentages ->> 'sub_units_counted')::numeric
            OR round(100.0 * (counts ->> 'ballots_cast')::int / (counts ->> 'registered_voters_counted')::int, 3)
                <> (published_percentages ->> 'turnout')::numeric
            OR EXISTS (SELECT FROM jsonb_each_text(counts -> 'votes') v
                WHERE round(100.0 * v.value::int / (counts ->> 'valid_votes')::int, 3)
                    <> (published_percentages -> 'valid_votes_share' ->> v.key)::numeric))
        """,
    )
    assert different == []


def test_a_fall_of_one_candidate_under_rising_totals_is_a_correction(night: Night) -> None:
    fall = next(s for s in night.explained["statements"] if s["stated_at"] == "2021-06-07T23:18:00Z")
    assert fall["kind"] == "CORRECTED"
    assert fall["change"]["votes.fuerza-popular"] == -276
    assert fall["change"]["valid_votes"] == 240
    assert "fuerza-popular −276" in fall["reason"]
    others = [s for s in night.explained["statements"] if s["kind"] == "CORRECTED"]
    assert len(others) == 2


def test_the_five_equations_hold_in_every_bulletin(night: Night) -> None:
    assert rows(night, "SELECT code, message FROM checking.finding WHERE unit_type = 'country'") == []
    breaking = """
        SELECT count(*) FROM results.update_history, LATERAL (
            SELECT (sub_units ->> 'processed')::int p, (sub_units ->> 'counted')::int c, (sub_units ->> 'under_review')::int j,
                   (sub_units ->> 'to_be_processed')::int t, (sub_units ->> 'counted_normal')::int n,
                   (sub_units ->> 'annulled')::int a, (sub_units ->> 'not_installed')::int i,
                   (SELECT sum(r.value::int) FROM jsonb_each_text(sub_units -> 'under_review_by_reason') r) r,
                   (counts ->> 'ballots_cast')::int b, (counts ->> 'valid_votes')::int v,
                   (counts ->> 'blank_votes')::int bl, (counts ->> 'invalid_votes')::int nu) x
        WHERE unit_type = 'country'
          AND p = c + j AND p + t = 86488 AND c = n + a + i AND j = r AND b = v + bl + nu"""  # noqa: E501
    assert rows(night, breaking) == [(44,)]  # the other 4 repeat the figures before them


def test_the_three_moments_are_90_305_events(night: Night) -> None:
    assert [sum(night.reports[m]["news"].values()) for m in ACTAS] == [86_488, 812, 3_005]
    assert [night.reports[m]["rejected"] for m in ACTAS] == [{}, {}, {}]
    assert rows(night, "SELECT count(*) FROM results.update_history WHERE unit_type = 'precinct'") == [(90_305,)]


SHEETS = ("counted_normal", "under_review", "annulled", "pending", "in_process", "not_installed")


@pytest.mark.parametrize(
    ("moment", "sheets", "sums", "annulled_ballots"),
    [
        (ACTAS[0], (82_788, 1_367, 4, 2_315, 11, 3), (8_597_399, 8_519_478, 118_030, 1_031_335, 18_266_242), 811),
        (ACTAS[1], (83_467, 1_354, 16, 1_645, 3, 3), (8_649_164, 8_563_590, 118_872, 1_037_651, 18_369_277), 3_513),
        (ACTAS[2], (86_262, 0, 220, 0, 0, 6), (8_835_653, 8_791_696, 121_478, 1_062_856, 18_811_683), 44_953),
    ],
)
def test_the_sums_of_the_sheets_at_each_moment(
    night: Night, moment: str, sheets: tuple[int, ...], sums: tuple[int, ...], annulled_ballots: int
) -> None:
    count = night.counts[moment]
    assert count["basis"] == "COMPUTED"
    assert count["sub_units"]["total"] == 86_488
    assert tuple(count["sub_units"][name] for name in SHEETS) == sheets
    libre, popular = (s["votes"] for s in count["selections"])
    # the office's table sums counted sheets only; an annulled sheet's ballots are null votes too
    invalid, cast = count["invalid_votes"] - annulled_ballots, count["ballots_cast"] - annulled_ballots
    assert (libre, popular, count["blank_votes"], invalid, cast) == sums
    assert count["annulled_ballots"] == annulled_ballots
    assert count["turnout"]["registered_voters"] == 25_287_954


def test_the_difference_to_the_bulletin_nearest_in_time_is_shown(night: Night) -> None:
    beside = night.counts[ACTAS[0]]["official"]
    assert beside["reported_at"] == "2021-06-08T16:18:00Z"
    assert beside["seconds_apart"] == 136
    assert beside["differences"]["counted"] == -62
    assert beside["differences"]["processed"] == -79
    assert beside["differences"]["votes.peru-libre"] == 8_597_399 - 8_598_728
    assert night.counts["national"]["official"] is None


def test_an_area_is_the_sum_of_its_parts_down_to_the_sheets(night: Night) -> None:
    figures = "ballots_cast, valid_votes, invalid_votes, blank_votes, counted"
    votes = "(votes ->> 'peru-libre')::bigint, (votes ->> 'fuerza-popular')::bigint"
    areas = rows(night, f"SELECT area_id, parent_id, area_type, {figures}, {votes} FROM results.area_count")  # noqa: S608
    types = {area_id: area_type for area_id, _, area_type, *_ in areas}
    assert Counter(types.values()) == {"country": 1, "state": 30, "county": 273, "municipality": 2_082}
    assert {(area_type, types.get(parent)) for _, parent, area_type, *_ in areas} == {
        ("country", None),
        ("state", "country"),
        ("county", "state"),
        ("municipality", "county"),
    }
    parts: dict[str, list[Any]] = defaultdict(list)
    for _, parent, _, *stated in areas:
        parts[parent].append(stated)
    sums = {area_id: [sum(figure) for figure in zip(*of, strict=True)] for area_id, of in parts.items() if area_id}
    assert sums == {area_id: stated for area_id, _, area_type, *stated in areas if area_type != "municipality"}
    ((libre, popular),) = rows(
        night,
        "SELECT sum((counts -> 'votes' ->> 'peru-libre')::int), sum((counts -> 'votes' ->> 'fuerza-popular')::int)"
        " FROM results.unit_count WHERE unit_type = 'precinct' AND count_status = 'COUNTED'",
    )
    assert (libre, popular) == (8_835_653, 8_791_696)


@pytest.mark.parametrize("area", ["pe", "070000"], ids=["the nation", "the department of Cusco"])
def test_the_course_of_an_area_as_rows_is_its_timeline(night: Night, area: str) -> None:
    told = night.setup.json("results", "timeline", CONTEST, area)
    since = told["computed"][0]["stated_at"]
    points = [*(p for p in told["official"] if p["stated_at"] < since), *told["computed"]]
    assert len(points) == {"pe": 39, "070000": 2}[area]
    assert (
        rows(
            night,
            f"""SELECT to_char(stated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'), votes, shares, ballots_cast,
                  jsonb_build_object('total', total, 'processed', processed, 'counted', counted), counted_percent::text,
                  last_offset, last_event_id::text
           FROM results.area_history WHERE area_id = '{area}' ORDER BY stated_at""",  # noqa: S608
        )
        == [
            (
                p["stated_at"][:19],
                {s["selection_id"]: s["votes"] for s in p["selections"]},
                {s["selection_id"]: float(s["share"]) for s in p["selections"]},
                *(p["ballots_cast"], p["sub_units"], p["sub_units_counted"], p["offset"], p["event_id"]),
            )
            for p in points
        ]
    )


def test_a_counted_sheet_that_comes_back_all_null_is_a_fall(night: Night) -> None:
    explained = night.setup.json("results", "explain", CONTEST, "001972")
    last = explained["statements"][-1]
    assert last["kind"] == "CORRECTED"
    assert last["change"]["votes.peru-libre"] == -147
    assert last["change"]["invalid_votes"] == 300 - 9
    assert "result stage PROVISIONAL → ADJUDICATED" in last["sentences"]


def test_a_sheet_that_comes_back_from_review_with_fewer_votes_is_a_correction(night: Night) -> None:
    corrected = rows(
        night,
        "SELECT correction ->> 'reason' FROM results.update_history"
        " WHERE kind = 'CORRECTED' AND unit_type = 'precinct'",
    )
    resolved = [reason for (reason,) in corrected if reason.startswith("resolved under review: ")]
    assert (len(resolved), len(corrected) + 2) == (25, 39), "and the two of the bulletins"
    assert night.reports["final"]["news"]["CORRECTED"] + night.reports["2021-06-09T0112Z"]["news"]["CORRECTED"] == 37


def test_what_each_publication_changed_among_the_sheets(night: Night) -> None:
    explained = night.setup.json("results", "explain", CONTEST)
    publications = explained["publications"]
    assert [p["updates"] for p in publications] == [86_488, 812, 3_005]
    moves = Counter({(m["before"], m["after"]): m["units"] for m in publications[2]["moves"]})
    assert moves["PENDING", "COUNTED"] == 1_625
    assert moves["COUNTED", "COUNTED"] == 1
    libre = sum(p["change"]["votes.peru-libre"] for p in publications)
    assert libre == 8_835_653


@pytest.mark.parametrize("moments", [ACTAS[:1], pytest.param(ACTAS, marks=pytest.mark.soak)], ids=["first", "all"])
def test_loading_it_again_publishes_nothing(night: Night, moments: tuple[str, ...]) -> None:
    before = night.setup.show()
    report = night.setup.load(night.data / "national", *(night.data / "actas" / f"{m}.csv.gz" for m in moments))
    assert report["news"] == {}
    night.setup.aggregate()
    after = night.setup.show()
    assert after == before


def test_replay_equals_the_tables_for_the_whole_night(night: Night) -> None:
    live = night.setup.show()
    assert night.setup.json("aggregator", "replay", CONTEST) == live


def test_status_is_current_and_knows_the_last_official_time(night: Night) -> None:
    status = night.setup.json("aggregator", "status", "--max-lag", "0")
    assert status["partitions"][0]["lag"] == 0
    assert status["contests"][0]["last_reported_at"] == "2021-06-08T23:19:00.000Z"
    assert not status["contests"][0]["blocked"]


def test_another_machine_that_loads_the_night_has_the_same_events_and_the_same_digest(
    night: Night,
    kafka_server: Broker,
    new_setup: Callable[[Broker], Setup],
    at: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """Another clock, another archive, other folders; the time of the final sheets from a note beside them."""
    other = new_setup(kafka_server)
    at("2034-02-03T04:05:06Z")
    for path in (*(night.data / "national").iterdir(), *(night.data / "actas").iterdir()):
        shutil.copy(path, tmp_path)
    (tmp_path / "final.csv.gz.about.toml").write_text(f"stated_at = {STATED}\n")
    other.run("ingest", "load", "--contest", str(EXAMPLE / "contest.toml"), str(tmp_path))
    ours, theirs = (list(ids_on_the_log(setup)) for setup in (night.setup, other))
    assert len(ours) > 90_000
    assert ours == theirs
    replayed = other.json("aggregator", "replay", CONTEST)
    assert replayed["digest"] == night.counts["final"]["digest"]
    assert f"| {replayed['as_of']['offset']} | `{replayed['digest']}` |" in CONTRACT
    assert {name: replayed[name] for name in ("selections", "ballots_cast")} == {
        name: night.counts["final"][name] for name in ("selections", "ballots_cast")
    }


def ids_on_the_log(setup: Setup) -> Iterator[bytes | None]:
    """The ids of the events, in their order."""
    with Log(KafkaAccess(setup.bootstrap_servers), setup.names.events) as log:
        for batch in log.read_to_end(0, 0, log.ends()[0]):
            yield from (dict(record.headers)["ce_id"] for record in batch)
