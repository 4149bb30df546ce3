"""Write the tables, one fenced transaction per batch, and read states back from them."""
