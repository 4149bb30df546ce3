"""What an auditor keeps, as files: the log, its checkpoint, the documents behind it; and the check of it, offline."""
