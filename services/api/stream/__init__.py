"""The live stream: every accepted update and every new count, as server-sent events.

`chunks` (pure) has the updates as bytes, `feed` reads them once for all clients, `follower` goes through them for one
client, `routes` answers. The log's offsets are the cursors, so nothing is stored and a crash leaves nothing: clients
come back with the last id that they have.
"""
