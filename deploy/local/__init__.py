"""The local stack: a real Kafka broker and a real PostgreSQL, without Docker or a system package.

Role: everything the services need from outside, on one machine, on 127.0.0.1 only, for `make demo`, for
development and for the tests. Run it with `python -m deploy.local start|stop|status|reset`, or from Python:

    broker = Broker(root)
    broker.start()
    ... broker.bootstrap_servers ...
    broker.kill()       # as a crash would
    broker.start()      # same port, same data
    broker.stop()

Place: beside the services, which never import it; they read the addresses from `<root>/escrutinio.toml`.

Below one root folder: `run/` ports, pids and generated passwords, `kafka/` and `postgres/` the data, `logs/`, and
`archive/`, which belongs to ingest. A crash at any point leaves files that the next start repairs: data folders are
made under another name and renamed when complete, and `run/*.json` is replaced atomically.
"""

from deploy.local.errors import LocalStackError
from deploy.local.kafka import Broker
from deploy.local.postgres import Postgres
from deploy.local.server import State, Status
from deploy.local.stack import Stack

__all__ = ["Broker", "LocalStackError", "Postgres", "Stack", "State", "Status"]
