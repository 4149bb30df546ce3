"""Turn an office's documents into statements (pure)."""
