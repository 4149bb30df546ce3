"""The contract in two standard forms, AsyncAPI and ODCS, made of the schemas, the topics and a table of words.

`python -m tests.support.contracts` writes `docs/contracts/` again. A tool: no service needs it, and what it writes is
read by people and programs that have no checkout.

- `words`: what no schema says, once for both forms.
- `promised`: what is promised of each topic and message, from `schemas`, the grants and what `encode` writes.
- `asyncapi`, `odcs`: the two forms of it; `files`: their text; `held`: whether a message keeps it.
- `lint/`: the lock files of the programs of others that check them; `lock` leaves addresses out.
"""
