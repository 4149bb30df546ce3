#!/usr/bin/env bash
# Start a replica of another PostgreSQL (PRIMARY). On an empty data folder, copy the primary's first. A crash during the
# copy leaves a folder without the file `copied`: the next start empties it and copies again.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_replication_password)
export PGPASSWORD  # the WAL receiver reads it too, so the password is in no command line
if [ ! -e "$PGDATA/copied" ]; then
    find "$PGDATA" -mindepth 1 -delete
    pg_basebackup --dbname "$PRIMARY" --pgdata "$PGDATA" --wal-method stream --checkpoint fast
    touch "$PGDATA/standby.signal"
    chmod 700 "$PGDATA"
    touch "$PGDATA/copied"
fi
# The aggregator ends readers' sessions that are too old, but on the primary alone. A crash of this loop ends no query.
while sleep 60; do
    psql --quiet --no-psqlrc --host /var/run/postgresql --username postgres --dbname escrutinio --output /dev/null \
        --command "SELECT access.end_old_sessions(make_interval(secs => ${READER_SESSION:-3600}))" || true
done &
# Feedback: the primary keeps rows for as long as a query here reads them, so that no query is cancelled.
exec postgres -c max_connections=200 -c reserved_connections=10 -c authentication_timeout=10s \
    -c max_notify_queue_pages=64 -c max_locks_per_transaction=256 -c max_worker_processes=4 -c "primary_conninfo=$PRIMARY" \
    -c hot_standby_feedback=on -c hba_file=/replication/pg_hba.conf
