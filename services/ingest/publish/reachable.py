"""Is anybody there? Asked before a client is built, because a client that finds nobody takes half a minute to say so. A door.

Place in the flow: before every reading and sending. Changes nothing; a crash leaves nothing.
"""

import socket

from ingest.errors import BrokerAway
from runtime.kafka.access import KafkaAccess

_TIMEOUT_S = 3.0


def reach(kafka: KafkaAccess) -> None:
    """Returns when any of the brokers accepts a connection. Raises BrokerAway with what each of them did instead."""
    faults = []
    for server in kafka.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            faults.append(f"{server}: {error}")
        else:
            return
    raise BrokerAway(f"no broker answers at {'; '.join(faults)}{kafka.hint}")
