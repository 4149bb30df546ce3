"""From what the office publishes to events on the log: `fetch → keep → parse → since → send`.

`source` fetches documents, `archive` keeps their bytes by hash, `adapters` (pure) parse them into statements, `changes`
(pure) tells news from repetition, `publish` sends the news and `recall` reads back what the log already says. `pipeline`
runs them, `watch` does so for a folder, `cli` is the command. The log itself is ingest's only memory: a crash at any
place leaves a beginning of the work on the log, and running the same command again does the rest.
"""
