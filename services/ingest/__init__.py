"""Publish an office's documents as events on the log: `fetch → archive → parse → compare → send`.

`sources` fetches documents and archives their bytes by hash, `feeds` (pure) parses them into statements, `news` (pure)
finds what is new in them, `publish` sends the news and reads what the log already says. `pipeline` runs the stages,
`watch` runs them for a folder, `operator` for a correction by hand, `cli` is the command. The log is ingest's only
memory: after a crash at any place, running the same command again does the rest.
"""
