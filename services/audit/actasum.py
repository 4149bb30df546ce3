"""Write the sheets and totals of a bundle as actasum reads them: `actasum verify` is a stranger's program that adds up.

Place in the flow: on an auditor's machine, behind `export`. Of each sheet that counts at a moment it writes what the
sheet states, and of each area of a type two totals to compare them with: ours, and the office's own where it states
one. A sheet under review or pending counts for neither, and stands in none of the files.

Its format has one null vote and no ballots cast: an annulled sheet's ballots are null votes there as here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from audit.bundle.reading import files_of, partitions_of, records_of
from audit.errors import AuditError, FolderFull, NothingStated
from audit.recount.contest_log import RETRACTED, Moment
from audit.recount.figures import bulletin, of_area
from audit.recount.reading import Reading
from runtime.files import write_whole
from runtime.kafka.producer import partition_of
from schemas.columns.layout import NONE, STATUSES
from schemas.contest import Area
from schemas.count_update import UnitKey

_STATEMENT, _TOTALS = "actasum/statement/v0.1", "actasum/official-totals/v0.1"
_OTHERS = {"challenged_votes": "challenged", "undervotes": "undervotes", "overvotes": "overvotes"}


def write(bundle: Path, out: Path, contest_id: str, level: str | None, offset: int | None) -> dict[str, int]:
    """Write a new folder. `level`: the type of the areas to compare, by default that of the outermost.

    Returns how many sheets and areas each file has. Raises NothingStated, AuditError, FilesDamaged, FolderFull.
    """
    if out.exists():
        raise AuditError(f"{out} is there already: name a new folder")
    moment = _moment(bundle, contest_id, offset)
    contest = moment.contest
    areas = [area for area in contest.areas if area.type == (level or contest.root.type)]
    sheets = list(_statements(moment, {area.area_id for area in areas}))
    if not areas or not sheets:
        raise NothingStated(f"no sheet counts in an area of type {level or contest.root.type} of {contest_id}")
    named = {sheet["constituency"] for sheet in sheets}
    recounted = {area.area_id: _recounted(moment, area) for area in areas if area.area_id in named}
    office = {area.area_id: stated for area in areas if (stated := _stated(moment, area))}
    files = {"recounted.json": recounted} | ({"office.json": office} if office else {})
    lines = b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS) for one in sheets)
    try:
        write_whole(out / "statements.jsonl", lines)
        for name, totals in files.items():
            document = {"spec": _TOTALS, "profile": "escrutinio", "election": contest_id, "level": areas[0].type}
            write_whole(out / name, orjson.dumps(document | {"grouping": "constituency", "areas": totals}))
    except OSError as error:
        raise FolderFull(f"{out} cannot be written: {error.strerror}") from error
    return {"statements.jsonl": len(sheets)} | {name: len(totals) for name, totals in files.items()}


def _moment(bundle: Path, contest_id: str, offset: int | None) -> Moment:
    folders = partitions_of(bundle)
    number = partition_of(contest_id.encode(), len(folders))
    files, reading = files_of(folders[number], folders[number].parent.name, number)[0], Reading(contest_id)
    for file in files:
        reading.add(records_of(file))
    log = reading.log()
    moment = None if log is None else log.at(files[-1].following - 1 if offset is None else offset)
    if moment is None:
        raise NothingStated(f"the bundle does not define the contest {contest_id} by then")
    return moment


def _statements(moment: Moment, areas: set[str]) -> Iterator[dict[str, Any]]:
    batch, layout, contest = moment.batch, moment.layout, moment.contest
    counted, annulled = (layout.slots[name] for name in ("units_counted", "units_annulled"))
    for entry in moment.standing.tolist():
        kind, path = batch.index.groups[int(batch.group[entry])]
        within = [area for area in path if area in areas]
        is_counted, is_annulled = (bool(batch.contribution[entry, slot]) for slot in (counted, annulled))
        if not within or kind not in contest.counting_level or not contest.is_sheet(kind):
            continue
        if is_counted or is_annulled:
            said = dict(zip(layout.names, batch.figures[entry].tolist(), strict=True))
            documents = orjson.loads(batch.publications[entry])["documents"]
            yield {
                "spec": _STATEMENT,
                "profile": "escrutinio",
                "election": contest.contest_id,
                "station": "/".join((*path, batch.index.keys[int(batch.unit[entry])].id)),
                "constituency": within[0],
                "counts": _counts(said, contest.selection_ids, is_annulled),
                "evidence": {
                    "kind": "document",
                    "documents": [
                        {"name": one["name"], "sha256": one["sha256"], "place": place.decode()}
                        for one, place in zip(documents, batch.places[entry], strict=True)
                    ],
                },
                "extra": {
                    "offset": int(batch.offset[entry]),
                    "event_id": str(UUID(bytes=batch.event_id[entry].tobytes())),
                    "count_status": STATUSES[int(batch.status[entry])],
                },
            }


def _counts(said: dict[str, int], selections: tuple[str, ...], is_annulled: bool) -> dict[str, Any]:
    """Return what a sheet states, `unread` where that is nothing. Who was not on its ballots has no line."""
    figures = {"blank": said["blank_votes"], "null": said["invalid_votes"]}
    votes = {name: said[f"votes.{name}"] for name in selections}
    if is_annulled:
        figures, votes = {"blank": 0, "null": said["ballots_cast"]}, {}
    items = figures | {f"candidature:{name}": number for name, number in votes.items()}
    counts: dict[str, Any] = {name: number for name, number in figures.items() if number >= 0}
    counts["candidatures"] = {name: number for name, number in votes.items() if number >= 0}
    if unread := {name: "empty" for name, number in items.items() if number == NONE}:
        counts["unread"] = unread
    if others := {name: said[of] for of, name in _OTHERS.items() if said[of] >= 0 and not is_annulled}:
        counts["other"] = others
    if said["registered_voters"] >= 0:
        counts["registered"] = said["registered_voters"]
    return counts


def _recounted(moment: Moment, area: Area) -> dict[str, Any]:
    figures = of_area(moment, area.area_id) or {}
    found = {name: number for name, number in figures.items() if isinstance(number, int)}
    sheets = {name.removeprefix("sub_units."): n for name, n in found.items() if name.startswith("sub_units.")}
    return _totals(moment, found | sheets)


def _stated(moment: Moment, area: Area) -> dict[str, Any] | None:
    """Return what the office itself states about an area; None where it states nothing that counts."""
    entry = moment.state_of(UnitKey(area.type, area.area_id))
    if entry is None or moment.contest.is_part(area.type) or moment.batch.kind[entry] == RETRACTED:
        return None
    return _totals(moment, bulletin(moment, area, entry))


def _totals(moment: Moment, figures: dict[str, int]) -> dict[str, Any]:
    names = {"blank": "blank_votes", "null": "invalid_votes"}
    found: dict[str, Any] = {name: figures[of] for name, of in names.items() if of in figures}
    votes = {name: f"votes.{name}" for name in moment.contest.selection_ids}
    found["candidatures"] = {name: figures[of] for name, of in votes.items() if of in figures}
    if others := {name: figures[of] for of, name in _OTHERS.items() if of in figures}:
        found["other"] = others
    if "counted" in figures:  # one that was not installed has no statement of votes
        found["stations"] = figures["counted"] - figures.get("not_installed", 0)
    return found
