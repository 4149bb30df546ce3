"""From the log to the totals: `log` reads, `fold` decides (pure), `tables` commits, `live` and `replay` run them."""
