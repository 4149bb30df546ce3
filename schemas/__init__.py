"""The contract: everything that crosses Kafka, and nothing else.

`contest`, `unit_roll`, `count_update` and `feed_status` are frozen pydantic models of the `.avsc` files beside them.
`codec` encodes and decodes them, `beyond` tells what of a later version is not known here, `identity` computes their
ids, `chain` decides which are accepted, `rules` checks a statement, `topics` describes the topics and their settings,
`errors` defines the exceptions. `release` rejects a released schema that was changed and, with `compatibility`, a new
version that cannot read the others or that they cannot read. Imports no service.
"""
