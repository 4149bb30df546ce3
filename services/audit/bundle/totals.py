"""Keep published totals in a bundle, and count the log again to check them and the office's own bulletins.

Place in the flow: `writing` copies the files, `checking` has the statements, and `audit.recount` adds them up.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from audit.bundle.evidence import Evidence, find
from audit.bundle.layout import TOTALS
from audit.bundle.outcome import Check, list_of, of_places
from audit.bundle.words import Said
from audit.errors import AuditError, FilesDamaged
from audit.recount.compare import Asked, Reconciled, answers_in, differences, moment_of, reconcile
from audit.recount.contest_log import ContestLog, Moment
from runtime.files import read_regular, write_whole


def write_totals(files: Sequence[Path], out: Path, end: int) -> None:
    """Copy files of `escrutinio show --json` into a bundle. `end`: where what is signed ends.

    Raises AuditError for what is no such file, is of a later message, or has the name of another one.
    """
    for file in files:
        content = _read(file)
        try:
            last = max(int(answer["as_of"]["offset"]) for answer in answers_in(orjson.loads(content)))
        except (ValueError, TypeError, KeyError) as error:
            raise AuditError(f"{file} has no answer of `escrutinio show --json`") from error
        if last >= end:
            raise AuditError(f"{file} is as of offset {last:,}, which is not signed yet")
        there = out / TOTALS / f"{file.name.removesuffix('.json')}.json"
        if there.exists():
            raise AuditError(f"two files with totals are named {there.name}: rename one")
        write_whole(there, content)


def recounted(bundle: Path, found: Sequence[Evidence]) -> Iterator[Check]:
    """Count again what is in the totals, and what the office itself states about areas. Raises FilesDamaged."""
    logs = {
        name: ContestLog(of.definitions, of.rolls, of.statements) for one in found for name, of in one.contests.items()
    }
    yield _of_totals(bundle, found, logs)
    compared = [(name, one) for name, log in logs.items() for one in reconcile(log)]
    differing = [_of_bulletin(name, one) for name, one in compared if one.differences]
    yield list_of("bulletins", "", differing, compared=len(compared))


def _of_totals(bundle: Path, found: Sequence[Evidence], logs: Mapping[str, ContestLog]) -> Check:
    files, faults, areas = sorted((bundle / TOTALS).glob("[!.]*")), list[Said](), 0
    if not files:
        return Check("totals", "", None, Said("totals.unchecked"))
    moments: dict[tuple[str, Asked], Moment | None] = {}
    for file in files:
        try:
            for answer in answers_in(orjson.loads(_read(file))):
                areas += 1
                faults += _of_answer(file.name, answer, found, logs, moments)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            faults.append(Said("totals.unreadable", {"file": file.name, "fault": f"{type(error).__name__}: {error}"}))
    return of_places("totals", "", faults, files=len(files), areas=areas)


def _of_answer(
    file: str,
    answer: Mapping[str, Any],
    found: Sequence[Evidence],
    logs: Mapping[str, ContestLog],
    moments: dict[tuple[str, Asked], Moment | None],
) -> Iterator[Said]:
    contest_id = str(answer["contest_id"])
    about: dict[str, Any] = {"file": file, "contest": contest_id, "area": str(answer["area_id"])}
    if (of := find(found, contest_id)) is None:
        yield Said("totals.strange", about)
        return
    size, log = of[0].size, logs[contest_id]
    asked = moment_of(answer, log, size - 1)
    about |= {"offset": asked.offset}
    if asked.offset >= size:
        yield Said("totals.beyond", about | {"size": size})
        return
    if (key := (contest_id, asked)) not in moments:
        moments[key] = log.at(*asked)
    if (moment := moments[key]) is None:
        yield Said("totals.strange", about)
        return
    place = {"topic": of[0].topic, "partition": of[0].partition}
    if (said := answer.get("log", place)) != place:
        yield Said("totals.place", about | {"figure": "log", "stated": said, "recounted": place})
    for one in differences(answer, moment):
        figures = {"figure": one.figure, "stated": one.stated, "recounted": one.recounted}
        yield Said("totals.place" if one.figure else "totals.nothing", about | figures)


def _of_bulletin(contest_id: str, one: Reconciled) -> Said:
    words = "; ".join(f"{name} {said:,} / {summed:,}" for name, (said, summed) in one.differences.items())
    about = {"contest": contest_id, **one._asdict(), "count": len(one.differences), "words": words}
    return Said("bulletins.place", about)


def _read(file: Path) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise FilesDamaged.unread(file, error) from error
