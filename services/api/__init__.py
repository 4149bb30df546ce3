"""Answer over HTTP, read-only: the count, live and as of any moment, and the schemas as a Confluent Schema Registry.

`answers`, `stream` and `registry` have what is answered, `app` puts them on HTTP, `server` listens, `metrics` counts.
Nothing is stored: a crash loses the requests that are being answered, and clients ask again.
"""
