"""The log as files, and back: `mirror → check → restore`.

Role: keeps a second copy of the one thing that cannot be rebuilt. Place in the flow: beside it; it reads the log as any reader
does, and writes to Kafka only into topics that are empty. `runtime.kafka` reads and writes Kafka, `folder` the files, `manifest` says
what is in them (pure); `mirror`, `check` and `restore` run between the two, `documents` checks the archive, `cli` is the command.
The form of the files is in docs/backup.md.
"""
