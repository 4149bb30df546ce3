"""What every process of ours has around its work: its configuration, its access to Kafka, its logs, its health.

Place: beside the services, which import it; it knows none of them, and nothing of elections.
"""
