"""What the brokers say of a topic."""

from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import NoError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code


def described(admin: Any, topic: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]] | None:
    """What the brokers tell an admin client of a topic, and its settings by name, each with `value` and `config_source`.

    None where the topic is not there. Raises KafkaError for any other answer. Why settings are not told the client keeps to itself; but
    every topic has some, so where there are none they are not granted.
    """
    (about,) = admin.describe_topics([topic])
    fault = for_code(about["error_code"])
    if fault is UnknownTopicOrPartitionError:
        return None
    if fault is not NoError:
        raise fault(f"topic {topic}")
    answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    settings = next(iter(answer.values()))[topic]
    if not settings:
        raise TopicAuthorizationFailedError(f"the settings of topic {topic}")
    return about, settings
