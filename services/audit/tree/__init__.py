"""The tree, its files and its signatures, as RFC 6962 and C2SP have them: pure functions of bytes."""
