"""Count a log again by the words of docs/contract.md, with nothing of the aggregator and the read side (pure)."""
