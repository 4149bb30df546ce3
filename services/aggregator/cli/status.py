"""Read the positions of the tables and of the log."""

from typing import Any

from aggregator.log.reader import Log, last_heartbeat
from results.reader import Reader
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import KafkaFault
from schemas.codec import decode
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus
from schemas.topics import TopicNames


def status(reader_url: str, kafka: KafkaAccess, names: TopicNames) -> dict[str, Any]:
    """Return position and lag by partition, contests, last heartbeat; `log_fault` where the log cannot be read."""
    with Reader(reader_url) as reader:
        answer: dict[str, Any] = {
            "partitions": [c for c in reader.cursors() if c["topic"] == names.events],
            "contests": reader.status(),
            "unattributed": reader.unattributed(),
        }
    ends: dict[int, int] = {}
    heartbeat = fault = None
    try:
        with Log(kafka, names.events) as log:
            topic_id = log.topic_id()
            if any(p["topic_id"] != topic_id for p in answer["partitions"]):
                fault = f"{names.events} is not the log the totals were built from: it was deleted and made again"
            else:
                ends = log.ends()
        if (raw := last_heartbeat(kafka, names.feed_status)) is not None:
            try:
                heartbeat = decode(raw.value, raw.headers)
            except ContractError as error:
                at = f"{names.feed_status}[{raw.partition}]@{raw.offset}"
                fault = fault or f"{at} is not a heartbeat, so the last one is not known: {error}"
    except KafkaFault as error:
        fault = fault or str(error)
    answer["log_fault"] = fault
    for p in answer["partitions"]:
        p["end_offset"] = ends.get(p["partition"])
        p["lag"] = None if p["end_offset"] is None else p["end_offset"] - p["next_offset"]
    answer["heartbeat"] = (
        {
            "contest_id": heartbeat.contest_id,
            "unit": f"{heartbeat.unit_type}/{heartbeat.unit_id}",
            "stated_at": heartbeat.stated_at,
            "observed_at": heartbeat.observed_at,
        }
        if isinstance(heartbeat, FeedStatus)
        else None
    )
    return answer


def is_healthy(answer: dict[str, Any], max_lag: int | None) -> bool:
    """Say whether the log is readable and the right one, nothing is blocked, and the lag is at most `max_lag`."""
    partitions = answer["partitions"]
    behind = max_lag is not None and (not partitions or any(p["lag"] is None or p["lag"] > max_lag for p in partitions))
    blocked = any(contest["blocked"] for contest in answer["contests"])
    unreadable = any(p["unreadable"] for p in partitions)
    return not (answer["log_fault"] or behind or answer["unattributed"] or blocked or unreadable)
