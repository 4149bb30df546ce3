"""Write the tables: one transaction per batch, fenced."""
