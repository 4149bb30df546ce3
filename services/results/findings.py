"""Tell what was found on a contest's log up to a moment: the rules that events break, and what was not accepted (pure).

Both are of the whole contest, whatever area is asked about, and of the log, whatever official time: a tampered event
is one for every answer.
"""

from collections.abc import Iterable, Sequence

from schemas.rules import RULES, Finding
from schemas.types import Frozen

LIMIT = 20
"""Events that are named, of each code and of those that were not accepted; all others are a number."""
_OF_THE_CHAIN = ("F401", "F403")
"""An update is accepted with them, and still the log lacks an event or has another one in its place."""


class FoundAt(Frozen):
    """An event that breaks a rule. `unit`: `type/id`; null of a definition and a roll."""

    offset: int
    unit: str | None
    message: str


class BrokenRule(Frozen):
    """A rule, how often it is broken, and the first events that break it."""

    code: str
    rule: str
    count: int
    events: tuple[FoundAt, ...]
    more: int
    """Those that are not named."""


class RefusedEvent(Frozen):
    """An event that was not accepted, with everything that was found of it."""

    offset: int
    unit: str | None
    findings: tuple[str, ...]


class NotAccepted(Frozen):
    """The events that changed nothing: their number, and the first of them."""

    count: int
    events: tuple[RefusedEvent, ...]
    more: int


class Found(Frozen):
    """What was found on a contest's log."""

    findings: tuple[BrokenRule, ...]
    not_accepted: NotAccepted

    @property
    def is_sound(self) -> bool:
        """Whether the log agrees with itself: everything was accepted, and no chain lacks an event.

        What an office publishes that does not add up (F1xx), or late (F406), is no fault of the log.
        """
        return not self.not_accepted.count and not any(broken.code in _OF_THE_CHAIN for broken in self.findings)


class Collector:
    """Collects what is found, event by event in the order of the log. Memory is bounded by the limit."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._events: dict[str, list[FoundAt]] = {}
        self._refused = 0
        self._refused_events: list[RefusedEvent] = []

    def add(self, offset: int, unit: str | None, findings: Sequence[Finding], *, accepted: bool) -> None:
        """Add an event with findings; without any, it was accepted and says nothing here."""
        for finding in findings:
            self._numbers[finding.code] = self._numbers.get(finding.code, 0) + 1
            if len(events := self._events.setdefault(finding.code, [])) < LIMIT:
                events.append(FoundAt(offset=offset, unit=unit, message=finding.message))
        if accepted:
            return
        self._refused += 1
        if len(self._refused_events) < LIMIT:
            said = tuple(map(str, findings))
            self._refused_events.append(RefusedEvent(offset=offset, unit=unit, findings=said))

    @property
    def found(self) -> Found:
        """What was found so far."""
        rules = [broken_rule(code, number, self._events[code]) for code, number in sorted(self._numbers.items())]
        return Found(findings=tuple(rules), not_accepted=not_accepted(self._refused, self._refused_events))


def broken_rule(code: str, number: int, events: Sequence[FoundAt]) -> BrokenRule:
    """Return a broken rule. A later release may know more codes than this one."""
    rule = RULES.get(code, "a rule of another release")
    return BrokenRule(code=code, rule=rule, count=number, events=tuple(events), more=number - len(events))


def not_accepted(number: int, events: Iterable[RefusedEvent]) -> NotAccepted:
    """Return the events that were not accepted."""
    named = tuple(events)
    return NotAccepted(count=number, events=named, more=number - len(named))
