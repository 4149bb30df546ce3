"""`python -m tests.bench.memory`: measure the memory of a replay of a long log: it grows with units, not with events.

The log is one that is there already; `python -m tests.support.nights` makes one of any length.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.replay import fold_log
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from schemas.topics import TopicNames

_MB = 1_048_576


def main() -> None:
    """Replay, and print a line for every tenth of the log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contest", help="the contest to replay")
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", default=TopicNames().events)
    asked = parser.parse_args()
    gc.set_threshold(200_000, 20, 100)  # as the services do
    folding = ContestFold(asked.contest, Moment())
    begun, told = time.monotonic(), 0
    print(f"{'events':>12} {'units':>10} {'resident MB':>12} {'events/s':>10}")

    def on_progress(done: int, end: int) -> None:
        nonlocal told
        if done * 10 // end > told or done == end:
            told = done * 10 // end
            rate = done / (time.monotonic() - begun)
            print(
                f"{done:>12,} {folding.moment_state.unit_count:>10,} {resident() / _MB:>12,.0f} {rate:>10,.0f}",
                flush=True,
            )

    with Log(KafkaAccess(asked.bootstrap_servers), asked.topic, max_records=20_000) as log:
        fold_log(log, folding, on_progress)
    print(f"digest {folding.state.root()}")


def resident() -> int:
    """Bytes of this process in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
