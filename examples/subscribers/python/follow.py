"""What to keep of the messages, what to refuse, and what to say. It knows no client of Kafka.

Each line begins with a word: TOTAL, NOTICE, FEED; REFUSED, with the reason; TEST, before what is no result.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

TOTALS, NOTICES = "results.totals", "results.notices"
SIGNS = INGEST, COUNT = "results.ingest-status", "results.count-status"
SHEETS = ("counted", "under_review")
"""Figures whose change is told beside that of votes."""


def access(file):
    """Return the settings of newsroom-NAME.properties, by librdkafka's names."""
    lines = Path(file).read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return settings | {"ssl.ca.location": str(Path(file).with_name(settings["ssl.ca.location"]))}


def say(line):
    """Print a line. Its words come from outside: what is invisible in them is made visible."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in line), flush=True)


class Contest:
    """What is known of one contest: the count of the country and of the areas directly in it, and of the feed."""

    def __init__(self, contest_id):
        self.contest_id = contest_id
        self.totals = {}
        self.told = set()
        self.signs = {}
        self.is_behind = False
        self.said = None

    def total(self, new, is_news=True):
        """Keep a total, or refuse it. `is_news`: false while the beginning is read: then nothing is said of it."""
        if new["contest_id"] != self.contest_id or len(new["area_path"]) > 2:
            return
        old, refused = self.totals.get(new["area_id"]), None
        if old and new["event_id"] == old["event_id"]:
            refused = "it is the one that we have, sent again"
        elif old and new["as_of_offset"] < old["as_of_offset"]:
            refused = f"ours is as of offset {old['as_of_offset']}"
        else:
            self.totals[new["area_id"]] = new
        if is_news and refused:
            say(f"REFUSED a total of {new['area_name']} as of offset {new['as_of_offset']}: {refused}")
        elif is_news:
            say(standing(new))
            why(new, is_whole=old is None or new["previous_event_id"] == old["event_id"])

    def notice(self, new, is_news=True):
        """Tell a notice once. `is_news`: false where it was told before we were started."""
        if new["contest_id"] != self.contest_id:
            return
        if is_news and new["event_id"] in self.told:
            say(f"REFUSED a notice: it was told, and is sent again: {new['sentence']}")
        elif is_news:
            say(f"{test(new)}NOTICE {new['kind']} {new['sentence']}")
            why(new | {"change": {}})
        self.told.add(new["event_id"])

    def sign(self, topic, new):
        """Keep a sign of life. The count is behind where it lacks what was on the log at the sign before."""
        if new["contest_id"] != self.contest_id:
            return
        if topic == COUNT:
            self.is_behind = new["next_offset"] < (self.signs.get(COUNT, new)["end_offset"] or 0)
        self.signs[topic] = new

    def feed(self, fault=None):
        """Tell how the feed is, where that has changed. `fault`: why the broker does not answer."""
        sign, count, detail = self.signs.get(INGEST), self.signs.get(COUNT), ""
        if fault:
            now, detail = "DEAD: the broker does not answer, or we do not reach it", f": {fault}"
        elif is_late(sign):
            now = f"DEAD: no sign of life from ingest since {time(sign['at'])}" if sign else "DEAD: no sign of life"
        elif is_late(count):
            now = "DEAD: no sign of life from the count" + (f" since {time(count['at'])}" if count else "")
        elif count["blocked"]:
            now = f"BLOCKED: the count stands still: {count['blocked']}"
        elif self.is_behind:
            now = "BEHIND: not all that the office said is counted"
        elif sign["fault"]:
            now = f"BROKEN: the source does not answer: {sign['fault']}"
        elif sign["state"] == "SPEAKING":
            now = "ALIVE: the office speaks"
        else:  # SILENT, CLOSED
            since = f" since {time(sign['spoke_at'])}" if sign["spoke_at"] else ""
            now = f"{sign['state']}: nothing new from the office{since}"
        if now != self.said:
            say(f"FEED {now}{detail}")
        self.said = now

    def is_late(self):
        """Say whether ingest or the count gives no sign of life."""
        return any(is_late(self.signs.get(topic)) for topic in SIGNS)


def is_late(sign):
    """Say whether a last sign of life is older than twice what it promised. Keep this machine's clock right."""
    return not sign or datetime.now(UTC) - sign["at"] > 2 * timedelta(milliseconds=sign["next_within_ms"])


def standing(total):
    """Return a total in a line. Null is not stated, which is not zero."""
    if total["state"] != "COUNTED":
        return f"{test(total)}TOTAL {total['area_name']}: no count any more: {total['reason']}"
    votes = ", ".join(f"{s['party']} {number(s['votes'])} ({s['share']} %)" for s in total["selections"])
    percent, expected = total["percent_counted"], number(total["progress"]["expected"])
    counted = f"{number(total['progress']['counted'])} of {expected} tally sheets ({percent or '–'} %)"
    office = total["as_of_reported_at"]
    as_of = time(office) if office else f"{time(total['as_of_recorded_at'])} (received; the office states no time)"
    some = [s["party"] for s in total["selections"] if f"votes.{s['selection_id']}" in total["stated_by"]]
    partial = f"; of some of the units only: {', '.join(some)}" if some else ""
    still = f"; STANDS STILL: {total['blocked']}" if total["blocked"] else ""
    return f"{test(total)}TOTAL {total['area_name']}: {votes}; {counted}; as of {as_of}{partial}{still}"


def why(message, is_whole=True):
    """Say what changed, and the corrections and retractions behind it."""
    if not is_whole:
        say("  the total before it was not seen: the change is against that one")
    shown = {name: by for name, by in message["change"].items() if name.startswith("votes.") or name in SHEETS}
    if shown:
        fell = any(by < 0 for name, by in shown.items() if name.startswith("votes."))
        say(f"  {'FELL' if fell else 'changed'}: " + ", ".join(f"{name} {by:+,}" for name, by in shown.items()))
    for event in message["events"]:
        if event["kind"] in ("CORRECTED", "RETRACTED"):
            say(f"  {event['kind']} {event['unit']}: {event['reason']}")
    if message["events_total"] > len(message["events"]):
        say(f"  and {message['events_total'] - len(message['events'])} statements more")


def time(of):
    """Return a time as it is shown, in UTC."""
    return f"{of:%Y-%m-%d %H:%M:%SZ}"


def number(of):
    """Return a figure as it is shown."""
    return "not stated" if of is None else f"{of:,}"


def test(message):
    """Return what stands before a line of a rehearsal."""
    return "TEST, no result: " if message["is_test"] else ""
