"""From the committed count to the topics that newsrooms build on: what is published, and how it gets there."""
