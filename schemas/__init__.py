"""The contract: everything that crosses Kafka, and nothing else.

`contest`, `count_update` and `feed_status` are frozen pydantic models of the `.avsc` files beside them;
`codec` turns them into bytes and back, `identity` names and chains them, `rules` says what is wrong with a
statement, `topics` where they live and under which settings, `errors` what is raised on a fault. `release` refuses a
released schema that was changed, and with `compatibility` a new version that does not read the others, or they
not it. Imports no service.
"""
