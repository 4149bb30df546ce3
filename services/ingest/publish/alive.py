"""Say every few seconds that ingest lives, in a thread of its own: also while it loads a document.

Place in the flow: beside `watch`. Nothing reads these messages back, so a crash loses nothing, and a sign that cannot
be sent is left out: the next one says more. Why it cannot is logged, once: a subscriber takes us for dead meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingest.listener import Progress
from ingest.publish.connection import Connection
from runtime.kafka.errors import BrokerAway
from runtime.kafka.producer import Producer
from runtime.repeating import SIGN_EVERY_S, Repeating
from schemas.codec import encode
from schemas.ingest_status import IngestStatus


def signs_of_life(connection: Connection, status: Callable[[], IngestStatus], progress: Progress) -> Repeating:
    """Return what sends signs of life while it is open.

    Args:
        status: Makes a sign. It is called in another thread, and only reads.
    """

    @contextmanager
    def sending() -> Iterator[Callable[[], object]]:
        with Producer(connection.kafka, _waiting, linger_ms=0) as producer:
            yield lambda: producer.send(connection.names.ingest_status, (encode(status()),))

    return Repeating(
        "signs-of-life",
        sending,
        every_s=SIGN_EVERY_S,
        again_s=SIGN_EVERY_S,
        fault="no sign of life can be sent",
        warn=progress.warn,
    )


def _waiting(silent_s: float) -> None:
    raise BrokerAway(f"no acknowledgement of a sign of life for {silent_s:.0f} s")
