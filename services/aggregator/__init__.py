"""From the log to the count: `log` reads, `fold` decides (pure), `store` commits, `consume` and `replay` run them."""
