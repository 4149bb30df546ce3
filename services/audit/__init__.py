"""Prove that the log is whole and unaltered: a Merkle tree over it, signed checkpoints, proofs, and their checks.

Place in the flow: behind Kafka, beside the aggregator. It reads `results.events` as it lies there, and knows nothing of
counts. Everything that it publishes is files that any web server can serve, in the forms of C2SP; docs/proof.md
specifies them with test vectors.
"""
