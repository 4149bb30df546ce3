"""Draw answers as tables for a terminal. Every figure is from an answer; only column widths are computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table

from results.changes import Change, SnapshotChange, changed_words, signed
from results.count import Count, OnLog, percent
from results.findings import LIMIT, Found
from results.names import short_names
from runtime.terminal import Line
from schemas.area_count import Basis, StatedBy

if TYPE_CHECKING:  # each answer's model costs time to build, and a command needs one
    from results.difference import AreaDifference, Difference, Figure
    from results.explain import Explanation
    from results.statements import Statements
    from results.timeline import Point, Timeline


def times(at: datetime | None, zone: str) -> str:
    """Format a time in UTC and local: `2021-06-08T00:23Z (7 June 2021, 19:23 in America/Lima)`."""
    if at is None:
        return "not stated"
    local = at.astimezone(ZoneInfo(zone))
    return f"{utc(at)} ({local.day} {local:%B %Y, %H:%M} in {zone})"


def utc(at: datetime) -> str:
    """Format a time in UTC: `2021-06-08T00:23Z`, with seconds unless they are 0."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M}{at.strftime(':%S') if at.second else ''}Z"


def ago(at: datetime, now: datetime) -> str:
    """Format a time with its age: `2021-06-08T00:23Z, 3 min 0 s ago`."""
    return f"{utc(at)}, {span((now - at).total_seconds())} ago"


def span(seconds: float) -> str:
    """Format a duration in its two largest units: `1 h 20 min`."""
    for unit, next_unit, size, part in (("days", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            return f"{whole:,} {unit} {rest // part} {next_unit}"
    return f"{max(int(seconds), 0)} s"


def number(value: int | None) -> str:
    """Format a number with separated thousands; `not stated` for null, which is not zero."""
    return "not stated" if value is None else f"{value:,}"


def _percent(text: str | None) -> str:
    return "–" if text is None else f"{text} %"


def _share(share: str | None, part: int | None, whole: int | None) -> str:
    """Format a share to two places; a dash where the answer has none."""
    return _percent(None if share is None else percent(part, whole, 2))


def _counted(answer: Count, name: str, value: int | None) -> str:
    """Format a figure with the number of the units that state it, where that is not all: `80 (stated by 31 of 84)`."""
    return number(value) + _by(answer.stated_by, name)


def _by(stated_by: Mapping[str, StatedBy], name: str) -> str:
    by = stated_by.get(name)
    return f" (stated by {by.units:,} of {by.of:,})" if by is not None and by.units else ""


def show(answer: Count) -> RenderableType:
    """Draw a count."""
    title = Line(f"{answer.contest_name} · {answer.area_name}", style="bold")
    whose = (
        f"stated by {answer.authority}"
        if answer.basis is Basis.OFFICIAL
        else f"our sum of every {answer.counting_level}"
    )
    about = f"{answer.basis} ({whose}), as of {times(answer.last_update.stated_at, answer.time_zone)}"
    votes = Table(box=None, pad_edge=False, header_style="dim")
    votes.add_column("Selection", min_width=46)
    votes.add_column("Votes", justify="right", min_width=12)
    votes.add_column("Share", justify="right", min_width=9)
    if published := any(s.published_share for s in answer.selections):
        votes.add_column(f"{answer.authority}'s own", justify="right")
    for s in answer.selections:
        votes.add_row(
            f"{s.party} ({s.candidate})" + (", withdrawn" if s.withdrawn_at is not None else ""),
            _counted(answer, f"votes.{s.selection_id}", s.votes) if s.is_on_ballot else "not on ballot",
            _share(s.share, s.votes, answer.share_base),
            *([_percent(s.published_share)] if published else []),
        )
    if answer.lead is not None:
        leader = short_names(answer.selections).get(answer.leader or "", "a tie")
        votes.add_row(f"Lead ({leader})", number(answer.lead), style="bold")
    elif answer.lead_is_withheld:
        votes.add_row("No leader is named: too few sheets are counted", style="bold")
    asked = [] if answer.moment is None else [Line(f"Asked for: {answer.moment}", style="bold")]
    return Group(title, *asked, Line(about), "", votes, "", _ballots(answer), "", _sheets(answer), "", _foot(answer))


def _ballots(answer: Count) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=46)
    table.add_column(justify="right", min_width=12)
    table.add_column(justify="right", min_width=9)
    table.add_column(justify="right")
    table.add_row("Valid votes", _counted(answer, "valid_votes", answer.valid_votes))
    table.add_row("Blank votes", _counted(answer, "blank_votes", answer.blank_votes))
    invalid = "Null votes"
    if answer.annulled_ballots:
        invalid += f" ({answer.annulled_ballots:,} of them ballots of annulled sheets)"
    table.add_row(invalid, _counted(answer, "invalid_votes", answer.invalid_votes))
    for name, label in (("undervotes", "Undervotes"), ("overvotes", "Overvotes")):
        if (marks := getattr(answer, name)) is not None:
            table.add_row(label, _counted(answer, name, marks))
    table.add_row("Ballots cast", _counted(answer, "ballots_cast", answer.ballots_cast))
    cast, turnout = answer.ballots_cast, answer.turnout
    table.add_row(
        "Turnout, of the voters of counted sheets",
        _counted(answer, "registered_voters_counted", turnout.registered_voters_counted),
        _share(turnout.of_registered_voters_counted, cast, turnout.registered_voters_counted),
        _percent(turnout.published),
    )
    table.add_row(
        "Turnout, of the whole roll",
        _counted(answer, "registered_voters", turnout.registered_voters),
        _share(turnout.of_registered_voters, cast, turnout.registered_voters),
    )
    return table


def _sheets(answer: Count) -> Table:
    sheets, expected = answer.sub_units, answer.progress.expected
    total = sheets["total"]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=46)
    table.add_column(justify="right", min_width=12)
    table.add_column(justify="right", min_width=9)
    table.add_column(justify="right")
    progress = answer.progress
    known = _counted(answer, "total", total) if total is not None else number(expected)
    table.add_row("Tally sheets", "not known" if total is None and expected is None else known)
    for name, label, of_all in (
        ("processed", "  processed = counted + under review", answer.sub_units_processed),
        ("counted", "  counted (“precincts reporting”)", answer.sub_units_counted),
    ):
        share = _share(of_all.percent, sheets[name], expected)
        table.add_row(label, _counted(answer, name, sheets[name]), share, _percent(of_all.published))
    for name, label in (
        ("under_review", "  under review"),
        ("annulled", "  annulled (among the counted)"),
        ("not_installed", "  not installed (among the counted)"),
        ("to_be_processed", "  to be processed"),
    ):
        table.add_row(label, _counted(answer, name, sheets[name]))
    for value, label in (
        (progress.not_stated, "  of which nothing is stated yet"),
        (progress.partially_reporting, "  partially reporting (in process, with votes)"),
        (progress.voters_outstanding, "Voters on the roll of sheets that are not counted"),
        (answer.suppressed_units, "Units that hold figures back"),
    ):
        if value:
            table.add_row(label, number(value))
    if progress.areas_expected is not None:
        table.add_row("Areas reported", number(progress.areas_reported), f"of {progress.areas_expected:,}")
    names = short_names(answer.selections)
    waiting = [f"{names[s.selection_id]} {s.not_counted:,}" for s in answer.selections if s.not_counted]
    if waiting:
        table.add_row("Votes stated and not counted (yet)", " · ".join(waiting))
    return table


def _foot(answer: Count) -> RenderableType:
    last = answer.last_update
    lines: list[RenderableType] = [
        Line(f"Last update  event {last.event_id}, offset {last.offset} of the log", style="dim"),
        Line(
            f"State        offset {answer.as_of.offset}, "
            + (
                f"digest {answer.digest}"
                if answer.digest
                else f"its digest: `replay --to-offset {answer.as_of.offset}`"
            ),
            style="dim",
            overflow="fold",
        ),
    ]
    if beyond := answer.progress.beyond_expected:
        what = (
            f"MORE THAN EXPECTED: {beyond:,} tally sheets above the number that the contest's roll or definition "
            "expects; something is counted twice, or they are wrong"
        )
        lines.insert(0, Line(what, style="bold red"))
    if answer.unknown_units:
        what = (
            f"NO TOTAL: {answer.unknown_units:,} units state something that this release does not know; "
            "a newer release can read it"
        )
        lines.insert(0, Line(what, style="bold red"))
    if answer.blocked is not None:
        lines.insert(0, _blocked(answer.blocked))
    if answer.official is not None:
        o = answer.official
        differ = sorted(((n, d) for n, d in o.differences.items() if d), key=lambda of: -abs(of[1]))
        about = (
            f"Compared with {answer.authority}'s statement nearest in time, {times(o.stated_at, answer.time_zone)}, "
            f"{span(o.seconds_apart)} apart (offset {o.offset}): "
        )
        lines += ["", Line(about + ("ours minus theirs, largest first" if differ else "no difference"))]
        if differ:
            table = Table(box=None, show_header=False)
            table.add_column(min_width=44)
            table.add_column(justify="right", min_width=12)
            for name, difference in differ:
                table.add_row(name, signed(difference))
            lines.append(table)
    if answer.findings is not None and answer.not_accepted is not None:
        lines += found(Found(findings=answer.findings, not_accepted=answer.not_accepted))
    return Group(*lines)


def found(on_log: Found) -> list[RenderableType]:
    """Draw what was found on a contest's log: a line for each rule, and the first events that were not accepted."""
    lines: list[RenderableType] = []
    for broken in on_log.findings:
        offsets = list(dict.fromkeys(at.offset for at in broken.events))[:_OFFSETS]
        more = ", …" if broken.count > len(offsets) else ""
        where = f"offset{'s' if len(offsets) > 1 or more else ''} {', '.join(map(str, offsets))}{more}"
        lines.append(Line(f"{broken.code} × {broken.count:,}  {broken.rule}: {where}", style="yellow"))
    if lines:
        lines = ["", Line("Rules that events of the contest break", style="bold yellow"), *lines]
    if (refused := on_log.not_accepted).count:
        events = "1 event was" if refused.count == 1 else f"{refused.count:,} events were"
        lines += ["", Line(f"NOT ACCEPTED: {events}, and changed nothing", style="bold red")]
        lines += [
            Line(f"offset {one.offset}  {one.unit or 'no statement of a unit'}: {'; '.join(one.findings)}", style="red")
            for one in refused.events[:_REFUSED]
        ]
        if (more_of_them := refused.count - _REFUSED) > 0:
            lines.append(Line(f"and {more_of_them:,} more (--json names up to {LIMIT})", style="red"))
    return lines


_OFFSETS, _REFUSED = 3, 5
"""So many are named in words."""


def _blocked(why: str) -> Line:
    return Line(f"BLOCKED: nothing after it is counted. {why}", style="bold red")


def explanation(answer: Explanation) -> RenderableType:
    """Draw the statements about an area or a unit, oldest first."""
    blocks = statements(answer.statements, answer.time_zone)
    blocks += [
        Line(f"offset {refused.offset} was not accepted: {'; '.join(refused.findings)}", style="red")
        for refused in answer.not_accepted
    ]
    if answer.publications:
        blocks += ["", Line("Among the units in it, publication by publication:", style="bold")]
        blocks += _snapshots(answer.publications, answer.time_zone)
    return Group(*blocks, "", _proof(answer.log))


def _proof(log: OnLog) -> Line:
    where = f"{log.topic}, partition {log.partition}"
    command = f"escrutinio-audit prove --key log.key.pub --partition {log.partition} FOLDER OFFSET"
    return Line(f"Proof of an event of {where}: {command}", style="dim")


def statements_behind(answer: Statements, limit: int) -> RenderableType:
    """Draw the statements that a count is made of, the first of them."""
    title = Line(f"{answer.contest_name} · {answer.area_name}", style="bold")
    number = len(answer.statements)
    made_of = "the office's own statement"
    if answer.basis is Basis.COMPUTED:
        made_of = f"our sum of {number:,} statements, one of every {answer.counting_level}"
    more = f"; the first {limit:,} (--limit shows more, --json all)" if number > limit else ""
    asked = [] if answer.moment is None else [Line(f"Asked for: {answer.moment}", style="bold")]
    blocks: list[RenderableType] = [title, *asked, Line(f"{answer.basis}: {made_of}{more}"), ""]
    for one in answer.statements[:limit]:
        kind = "" if one.kind == "REPORTED" else f"  {one.kind}"
        name = "" if one.unit_name is None else f" ({one.unit_name})"
        blocks.append(Line(f"offset {one.offset}  {one.unit}{name}  {one.count_status}{kind}  event {one.event_id}"))
        blocks.extend(
            Line(f"    {of.uri or of.name} {of.place}  sha256 {of.sha256}", style="dim") for of in one.documents
        )
    return Group(*blocks, "", _proof(answer.log))


def statements(changes: Sequence[Change], zone: str) -> list[RenderableType]:
    """Draw a unit's statements."""
    blocks: list[RenderableType] = []
    for change in changes:
        style = "bold yellow" if change.kind != "REPORTED" else "bold"
        blocks.append(Line(f"{times(change.stated_at, zone)}  {change.kind}  offset {change.offset}", style=style))
        blocks.extend(Line(f"    {line}") for line in change.sentences)
        if change.reason is not None:
            blocks.append(Line(f"    marked {change.kind}, {_basis(change)}: {change.reason}"))
        if change.office_note is not None:
            blocks.append(Line(f"    the office notes: {change.office_note}"))
        blocks.extend(Line(f"    finding {line}", style="red") for line in change.findings)
        blocks.append(Line(f"    event {change.event_id}; {change.source}", style="dim"))
    return blocks


def _basis(change: Change) -> str:
    if change.basis == "OPERATOR":
        return f"by an operator on the word of {change.authority}"
    return f"basis {change.basis}"


def _snapshots(publications: Sequence[SnapshotChange], zone: str) -> list[RenderableType]:
    blocks: list[RenderableType] = []
    for s in publications:
        blocks.append(
            Line(
                f"{times(s.stated_at, zone)}  {s.updates:,} updates, {s.corrected:,} of them corrections  "
                f"offsets {s.first_offset}–{s.last_offset}",
                style="bold",
            )
        )
        blocks.append(Line("    " + ", ".join(f"{m.before} → {m.after} {m.units:,}" for m in s.moves)))
        blocks.extend(Line(f"    {line}") for line in s.sentences)
        blocks.append(Line(f"    {s.document}", style="dim"))
    return blocks


def difference(answer: Difference) -> RenderableType:
    """Draw the difference of two moments: the area, the areas in it, the events behind it."""
    zone = answer.time_zone
    blocks: list[RenderableType] = [Line(f"{answer.contest_name} · {answer.area.area_name}", style="bold")]
    for word, side in (("From", answer.before), ("To  ", answer.after)):
        blocks.append(Line(f"{word}  {side.moment}: offset {side.as_of.offset}, {times(side.as_of.reported_at, zone)}"))
        if side.blocked is not None:
            blocks.append(_blocked(side.blocked))
    blocks += ["", *_area_difference(answer.area, answer.authority)]
    levels = list(dict.fromkeys((answer.before.counting_level, answer.after.counting_level)))
    if len(levels) > 1:
        blocks.append(Line(f"The counting level changed in between: {' → '.join(levels)}.", style="yellow"))
    if answer.children:
        blocks += ["", Line("Areas directly in it that changed:", style="bold"), _children(answer)]
    shown = len(answer.updates)
    more = f"; the first {shown:,} (--limit shows more)" if shown < answer.updates_total else ""
    blocks += ["", Line(f"Events behind it: {answer.updates_total:,}{more}", style="bold")]
    names = short_names(answer.area.selections)
    for update in answer.updates:
        taken = "  TAKEN BACK" if update.taken_back else ""
        style = "bold yellow" if taken or update.kind != "REPORTED" else ""
        line = f"offset {update.offset}  {times(update.stated_at, zone)}  {update.unit}  {update.kind}{taken}"
        blocks.append(Line(line, style=style))
        blocks += [
            Line(f"    {sentence}") for sentence in changed_words(names, update.change) or ["changes nothing here"]
        ]
        blocks += [Line(f"    marked {update.kind}: {update.reason}")] if update.reason is not None else []
        blocks.append(Line(f"    event {update.event_id}", style="dim"))
    return Group(*blocks)


def _area_difference(area: AreaDifference, authority: str) -> list[RenderableType]:
    blocks: list[RenderableType] = [Line(f"{area.area_name} ({area.area_id})  {_bases(area)}", style="bold")]
    if not area.is_comparable and None not in (area.basis_before, area.basis_after):
        blocks.append(
            Line(
                f"The figures are of two kinds ({authority}'s own statement, or our sums, or sums over other units): "
                "their difference is not what was counted in between.",
                style="yellow",
            )
        )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", min_width=46)
    for column in ("Before", "After", "Change"):
        table.add_column(column, justify="right", min_width=12)
    for s in area.selections:
        table.add_row(f"{s.party} ({s.candidate})", *_both(area, f"votes.{s.selection_id}", s.votes))
    names = short_names(area.selections)
    leaders = [names.get(leader or "", "nobody") for leader in (area.leader_before, area.leader_after)]
    table.add_row(f"Lead ({' → '.join(dict.fromkeys(leaders))})", *_figure(area.lead), style="bold")
    for name, figure in area.counts.items():
        label = name.replace("_", " ").replace("invalid", "null").capitalize()
        table.add_row(label, *_both(area, name, figure))
    for name, figure in area.sub_units.items():
        label = f"Tally sheets {'' if name == 'total' else name.replace('_', ' ')}"
        table.add_row(label, *_both(area, name, figure))
    for reason, figure in area.under_review_by_reason.items():
        table.add_row(f"  under review: {reason.replace('_', ' ').lower()}", *_figure(figure))
    return [*blocks, table]


def _both(area: AreaDifference, name: str, figure: Figure) -> tuple[str, str, str]:
    """Format a figure at both moments, with the number of the units that state it, where that is not all."""
    before, after, change = _figure(figure)
    return before + _by(area.stated_by_before, name), after + _by(area.stated_by_after, name), change


def _bases(area: AreaDifference) -> str:
    bases = [str(b) if b is not None else "nothing counted" for b in (area.basis_before, area.basis_after)]
    return " → ".join(dict.fromkeys(bases))


def _children(answer: Difference) -> Table:
    """Draw a line for each area: its changes, or its later figures and their bases when the two are not comparable."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for column in (*short_names(answer.area.selections).values(), "Lead", "Ballots cast", "Sheets counted"):
        table.add_column(column, justify="right", min_width=12)
    table.add_column("")
    for area in answer.children:
        figures = [*(s.votes for s in area.selections), area.lead, *_named(area, "ballots_cast", "counted")]
        shown = [number(f.after) for f in figures] if not area.is_comparable else [_figure(f)[2] for f in figures]
        note = "" if area.is_comparable else _bases(area)
        if area.leader_before != area.leader_after and None not in (area.leader_before, area.leader_after):
            note += " ◀ another leads"
        table.add_row(f"{area.area_name} ({area.area_id})", *shown, note)
    return table


def _named(area: AreaDifference, *names: str) -> list[Figure]:
    from results.difference import Figure

    figures = area.counts | area.sub_units
    return [figures.get(name, Figure(before=0, after=0, change=0)) for name in names]


def _figure(figure: Figure) -> tuple[str, str, str]:
    change = "–" if figure.change is None else signed(figure.change) if figure.change else "="
    return number(figure.before), number(figure.after), change


def timeline(answer: Timeline) -> RenderableType:
    """Draw both series of an area, each as a table."""
    blocks: list[RenderableType] = [Line(f"{answer.contest_name} · {answer.area_name}", style="bold")]
    if answer.blocked is not None:
        blocks.append(_blocked(answer.blocked))
    for points, whose in (
        (answer.official, f"OFFICIAL: stated by {answer.authority}"),
        (answer.computed, f"COMPUTED: our sum of every {answer.counting_level}, as published up to each time"),
    ):
        if points:
            blocks += ["", Line(f"{whose} ({len(points):,} points)"), _series(points, answer)]
    return Group(*blocks)


def _series(points: tuple[Point, ...], answer: Timeline) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in (f"In {answer.time_zone}", *answer.names.values(), "Lead", "Sheets counted", "Offset"):
        table.add_column(column, justify="right")
    table.add_column("")
    for p in points:
        local = p.stated_at.astimezone(ZoneInfo(answer.time_zone))
        note = "RETRACTED" if p.retracted else ""
        if p.lead_change:
            note = f"◀ {answer.names[p.leader or '']} takes the lead"
        table.add_row(
            f"{local.day} {local:%B, %H:%M}",
            *(f"{number(s.votes)}  {_percent(s.share)}" for s in p.selections),
            number(p.lead),
            f"{number(p.sub_units['counted'])}  {_percent(p.sub_units_counted)}",
            str(p.offset),
            note,
            style="bold yellow" if p.lead_change else "dim" if p.retracted else None,
        )
    return table
