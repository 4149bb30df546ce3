"""Write out the canonical texts of many statements at once: `identity.statement`, for ordinary statements (pure).

Ordinary: reported, without correction, sub-units, or a note. A property test compares each text with that of the model.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from schemas.columns.layout import COUNTS, KINDS, NONE, REASONS, STAGES, STATUSES, Bytes, Layout, Mask, Numbers
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.identity import NAMESPACE, canonical
from schemas.types import ResultStage, UpdateKind, from_milliseconds, rfc3339

REPORTED = KINDS.index(UpdateKind.REPORTED)
UNKNOWN_STAGE = STAGES.index(ResultStage.UNKNOWN)
_STATUSES = [status.value for status in STATUSES]
_STAGES = [stage.value for stage in STAGES]
_REASONS = [*(f'"{reason}"' for reason in REASONS), "null"]
"""By code; NONE is the last."""
_REMEMBERED = 1 << 17


class CanonicalTexts:
    """Writes the texts of one contest's statements. Remembers the texts of times."""

    def __init__(self, contest: ContestDefined) -> None:
        layout = Layout.of(contest)
        self._template = (
            '{"area_path":%s,"contest_id":'
            + _literal(contest.contest_id)
            + ',"correction":null,"count_status":"%s","counts":%s,"is_test":'
            + canonical(contest.is_test).decode()
            + ',"kind":"REPORTED","previous_event_id":%s,"reported_at":%s,"result_stage":"%s","review_reason":%s,'
            '"sequence":%d,"source_status":%s,"stated_at":%s,"sub_units":null,%s'
        )
        counts, votes = sorted(COUNTS), sorted(layout.selections)
        self._slots = [layout.slots[name] for name in (*counts, *(f"votes.{selection}" for selection in votes))]
        self._counts = (
            "{"
            + "".join(f'"{name}":%s,' for name in counts)
            + '"votes":{'
            + ",".join(f"{_literal(selection)}:%s" for selection in votes)
            + "}}"
        )
        self._times = {NO_TIME: "null"}

    def texts(
        self,
        paths: Iterable[str],
        units: Iterable[str],
        words: Iterable[str],
        previous: Iterable[str],
        *,
        status: Numbers,
        reason: Numbers,
        stage: Numbers,
        sequence: Numbers,
        reported: Numbers,
        stated: Numbers,
        has_counts: Mask,
        figures: Numbers,
    ) -> list[bytes]:
        """Return the texts.

        Args:
            paths, words, previous: Area paths, the source's words for the status and the ids before, as JSON.
            units: `UnitIndex.texts`.
            figures: As `Layout.stated`.
        """
        columns = (
            paths,
            [_STATUSES[code] for code in status.tolist()],
            self._count_texts(has_counts, figures),
            previous,
            self._time_texts(reported),
            [_STAGES[code] for code in stage.tolist()],
            [_REASONS[code] for code in reason.tolist()],
            sequence.tolist(),
            words,
            self._time_texts(stated),
            units,
        )
        return [(self._template % row).encode() for row in zip(*columns, strict=True)]

    def _count_texts(self, has_counts: Mask, figures: Numbers) -> list[str]:
        template = self._counts
        texts = [template % row for row in zip(*(_numbers(figures[:, slot]) for slot in self._slots), strict=True)]
        for i in np.flatnonzero(~has_counts).tolist():
            texts[i] = "null"
        return texts

    def _time_texts(self, column: Numbers) -> list[str]:
        times: list[int] = column.tolist()
        if len(self._times) >= _REMEMBERED:
            self._times = {NO_TIME: "null"}
        texts = self._times
        for ms in set(times).difference(texts):
            texts[ms] = f'"{rfc3339(from_milliseconds(ms))}"'
        return [texts[ms] for ms in times]


def _literal(text: str) -> str:
    """Return a text as JSON, within a template."""
    return canonical(text).decode().replace("%", "%%")


def _numbers(column: Numbers) -> list[int | str]:
    numbers: list[int | str] = column.tolist()
    for i in np.flatnonzero(column == NONE).tolist():
        numbers[i] = "null"
    return numbers


def event_ids(texts: Sequence[bytes]) -> Bytes:
    """Return the ids of events by their canonical texts, as `identity.name_text`. Shape (texts, 16)."""
    sha1, space = hashlib.sha1, NAMESPACE.bytes
    joined = b"".join([sha1(space + text, usedforsecurity=False).digest() for text in texts])
    ids = np.frombuffer(joined, np.uint8).reshape(len(texts), 20)[:, :16].copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x50  # UUID version 5
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    return ids


def leaves(texts: Sequence[bytes]) -> Bytes:
    """Return the SHA-256 of canonical texts. Shape (texts, 32)."""
    sha256 = hashlib.sha256
    return np.frombuffer(b"".join([sha256(text).digest() for text in texts]), np.uint8).reshape(len(texts), 32)
