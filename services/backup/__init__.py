"""Copy the log to files and restore it: `mirror → check → restore`.

Role: keep a second copy of the one thing that cannot be rebuilt. Place in the flow: beside it; it reads the log as any
reader does, and writes to empty Kafka topics only. `runtime.kafka` reads and writes Kafka, `folder` the files,
`manifest` lists their content; `mirror`, `check` and `restore` run between the two, `documents` checks the
archive, `cli` is the command. docs/backup.md describes the files.
"""
