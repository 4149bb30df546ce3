"""Put a made-up night on a topic: `python -m tests.support.nights`.

Beside the services, not one of them: it writes what no office said. So it only fills an empty topic. A crash leaves
the first part of the night there; make the same again on another topic.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import fields
from multiprocessing.connection import Connection

from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ingest.publish.publisher import create, inspect
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, DeliveryFailed, TopicUnfit
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from schemas.codec import Message
from schemas.topics import EVENTS
from tests.support.nights import Night, messages, rough

_BATCH = 1_000
_REDRAW = 1_000
_GIVE_UP_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a topic and say how fast."""
    asked = _parser().parse_args(arguments)
    given = {f.name: value for f in fields(Night) if (value := getattr(asked, f.name, None)) is not None}
    try:
        night = Night(**given)
    except ValueError as error:
        sys.exit(f"no such night: {error}")
    night = rough(night) if asked.rough else night
    try:
        kafka = KafkaAccess(asked.bootstrap_servers)
        prepare(kafka, asked.topic)
        begun = time.perf_counter()
        with closing(written(night)) as made:
            fill(kafka, asked.topic, made, night.events)
    except (BrokerAway, DeliveryFailed, TopicUnfit) as error:
        sys.exit(str(error))
    except KafkaError as error:
        sys.exit(f"{asked.topic} at {asked.bootstrap_servers}: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"stopped: {asked.topic} holds a part of the night, and cannot be filled again")
    seconds = time.perf_counter() - begun
    print(f"{night.events:,} events on {asked.topic} in {seconds:.1f} s: {night.events / seconds:,.0f}/s")


def written(night: Night) -> Generator[Message]:
    """The night's messages, made by another process, so that sending does not wait for it. Close it to end it."""
    beside = multiprocessing.get_context("spawn")
    end, other = beside.Pipe(duplex=False)
    writer = beside.Process(target=_write, args=(night, other), daemon=True)
    writer.start()
    other.close()
    try:
        while batch := end.recv():
            yield from batch
    except EOFError:
        writer.join()
        raise RuntimeError(f"the process that makes the night ended with {writer.exitcode}") from None
    finally:
        writer.terminate()
        writer.join()
        end.close()


def _write(night: Night, reader: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that reads, who ends this
    gc.disable()  # nothing of a night refers to itself, and looking for it takes a third of the time
    made = messages(night)
    while batch := list(itertools.islice(made, _BATCH)):
        reader.send(batch)
    reader.send([])


def prepare(kafka: KafkaAccess, topic: str) -> None:
    """Create the topic where it is missing. Raises TopicUnfit where it could lose events, or holds some already."""
    create(kafka, [(topic, EVENTS)], replication_factor=1)
    inspect(kafka, [(topic, EVENTS)])
    with Reader(kafka, topic) as reader:
        held = sum(reader.ends().values())
    if held:
        raise TopicUnfit(f"topic {topic} at {kafka} holds {held:,} messages already: name another")


def fill(kafka: KafkaAccess, topic: str, night: Iterable[Message], events: int) -> None:
    """Send all messages in order and wait until the last is acknowledged. Raises DeliveryFailed, BrokerAway."""
    with _bar() as bar, Producer(kafka, _waiting(topic)) as producer:
        task = bar.add_task(topic, total=events, rate="")
        begun, done = time.perf_counter(), 0

        def sent(count: int) -> None:
            nonlocal done
            done += count
            if done % _REDRAW == 0:
                bar.update(task, completed=done, rate=f"{done / (time.perf_counter() - begun):,.0f}/s")

        producer.send(topic, night, sent)
        bar.update(task, completed=events)


def _waiting(topic: str) -> Callable[[float], None]:
    def waiting(seconds: float) -> None:
        if seconds > _GIVE_UP_S:
            raise DeliveryFailed(f"no acknowledgement of {topic} for {seconds:.0f} s")

    return waiting


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _parser() -> argparse.ArgumentParser:
    usual = Night()
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.nights",
        description="Put a made-up election night on a new topic. Equal options make equal events, byte for byte.",
    )
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT", help="brokers, separated by commas")
    parser.add_argument("--topic", required=True, metavar="NAME", help="created if it is not there; must be empty")
    for option, what in (
        ("events", "messages in all"),
        ("seed", "another number makes another night"),
        ("units", "tally sheets of each contest"),
        ("contests", "contests, in turns on one log"),
        ("municipalities", "of the country"),
        ("hours", "from the first document to the last"),
    ):
        default = getattr(usual, option)
        parser.add_argument(f"--{option}", type=int, metavar="N", help=f"{what} (default: {default:_})")
    parser.add_argument("--rough", action="store_true", help="a lot of what is rare, and trouble a reader must refuse")
    return parser
