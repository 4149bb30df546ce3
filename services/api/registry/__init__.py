"""A schema registry for Kafka's standard clients: `schemas` has the answers (pure), `routes` puts them on HTTP."""
