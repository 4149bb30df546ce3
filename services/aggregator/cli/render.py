"""Draw the operators' answers as tables for a terminal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from aggregator.projections.catalog import ProjectionStatus
from aggregator.verify.report import Report
from results.findings import Found
from results.render import ago, utc
from results.render import found as what_was_found
from runtime.terminal import Line
from schemas.notice import Notice

_AREAS = 5
"""Areas with more sheets than expected that are named."""


def status(answer: dict[str, Any], now: datetime) -> RenderableType:
    """Draw positions, lag, contests and findings; times with their age."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=24)
    table.add_column()
    if answer["log_fault"]:
        table.add_row("LOG", answer["log_fault"], style="bold red")
    if not answer["partitions"]:
        table.add_row("nothing aggregated yet", "start it: escrutinio-aggregator run")
    for p in answer["partitions"]:
        lag = "lag unknown" if p["lag"] is None else f"{p['lag']:,} events behind" if p["lag"] else "caught up"
        table.add_row(
            f"{p['topic']}/{p['partition']}",
            f"offset {p['next_offset']:,}"
            + (f" of {p['end_offset']:,}" if p["end_offset"] is not None else "")
            + f": {lag}",
        )
        table.add_row("  last commit", ago(p["updated_at"], now))
        if p["unreadable"]:
            table.add_row("  UNREADABLE", f"{p['unreadable']}; its contests are blocked", style="bold red")
    for c in answer["contests"]:
        table.add_row(c["contest_id"], f"{c['updates']:,} updates, counting level {c['counting_level']}")
        table.add_row("  last official time", utc(c["last_reported_at"]) if c["last_reported_at"] else "not stated")
        table.add_row("  last recorded", ago(c["last_recorded_at"], now))
        if (source := c["source"]) is not None:
            said = "; ".join(filter(None, (source["reason"], source["authority"])))
            table.add_row("  source", f"{source['state']} since {source['since']}" + (f": {said}" if said else ""))
        table.add_row("  findings", ", ".join(f"{code} × {n}" for code, n in c["findings"].items()) or "none")
        if c["not_accepted"]:
            table.add_row("  NOT ACCEPTED", f"{c['not_accepted']:,} events: escrutinio show", style="bold red")
        beyond = sorted(c["beyond_expected"].items(), key=lambda of: -of[1])
        for area, sheets in beyond[:_AREAS]:
            what = f"{area}: {sheets:,} tally sheets above the number that the contest's roll or definition expects"
            table.add_row("  MORE THAN EXPECTED", what, style="bold red")
        if len(beyond) > _AREAS:
            table.add_row("", f"and in {len(beyond) - _AREAS:,} more areas", style="bold red")
        if c["blocked"]:
            table.add_row(
                "  BLOCKED",
                f"at offset {c['blocked_offset']}: {c['blocked_reason']}; {c['parked']} messages parked",
                style="bold red",
            )
    if answer["heartbeat"]:
        h = answer["heartbeat"]
        table.add_row("last heartbeat", f"{h['unit']}: nothing new at {utc(h['stated_at'])}")
        table.add_row("  observed", ago(h["observed_at"], now))
    for u in answer["unattributed"]:
        table.add_row(
            "UNREADABLE",
            f"{u['messages']} messages of no contest from offset {u['first_offset']} of partition {u['partition']}: "
            f"{u['reason']}",
            style="bold red",
        )
    if answer["unattributed"] and (more := answer["unattributed"][0]["keys"] - len(answer["unattributed"])):
        table.add_row("UNREADABLE", f"and messages with {more:,} more keys of no contest", style="bold red")
    return table


def projections(found: list[ProjectionStatus]) -> RenderableType:
    """Draw the projections of the database, the live one first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, justify in (
        ("Projection", "left"),
        ("Kind", "left"),
        ("Version", "right"),
        ("Next offset", "right"),
        ("MB", "right"),
        ("Made", "left"),
    ):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for s in found:
        offsets = ", ".join(f"{p.next_offset:,}" + (f" ({p.partition})" if len(s.places) > 1 else "") for p in s.places)
        until = f", of what was stated by {utc(s.until_stated_at)}" if s.until_stated_at is not None else ""
        table.add_row(
            s.projection.name or "–",
            Line(s.kind, style="bold" if s.kind == "live" else ""),
            str(s.version),
            offsets or "nothing read yet",
            f"{s.bytes / 1e6:,.0f}",
            utc(s.made_at) + until,
        )
    return table


def notices(found: Sequence[Notice]) -> RenderableType:
    """Draw notices, one after another."""
    lines: list[RenderableType] = []
    for notice in found:
        at = f"  {utc(notice.stated_at)}" if notice.stated_at is not None else ""
        lines.append(Line(f"offset {notice.as_of_offset}{at}  {notice.kind}", style="bold"))
        lines.append(Line(f"    {notice.sentence}"))
    return Group(*lines)


def report(found: Report, on_log: Found) -> RenderableType:
    """Draw whether the tables equal the log, every mismatch, and what was found on the log."""
    lines = [
        *what_was_found(on_log),
        Line(f"{found.contest_id}: {found.events:,} events compared, up to offset {found.offset}"),
    ]
    if found.is_copy:
        lines.append(Line("The tables were built from another topic: log times are not compared.", style="yellow"))
    if found.blocked_offset is not None:
        what = (
            f"BLOCKED at offset {found.blocked_offset}, {found.parked_count:,} messages parked: {found.blocked_reason}"
        )
        lines.append(Line(what, style="bold red"))
    if found.equal:
        return Group(*lines, Line(f"equal; digest {found.log_digest}, from the log and from the tables", style="bold"))
    lines += [Line(str(difference), style="red") for difference in found.differences]
    if found.count > len(found.differences):
        lines.append(Line(f"and {found.count - len(found.differences):,} more", style="red"))
    return Group(
        *lines,
        Line("The tables differ from the log: `escrutinio-aggregator rebuild` builds them again.", style="bold red"),
    )
