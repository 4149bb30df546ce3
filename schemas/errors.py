"""Faults of the contract.

    EscrutinioError        anything this project raises on purpose
    └── ContractError      bytes or values that are not what `schemas/` promises

Bad *data* inside a well-formed document is not a fault but a value: `rules.Finding`.
"""


class EscrutinioError(Exception):
    """Root of every error raised on purpose. `str()` says what is wrong, where, and what to do."""


class ContractError(EscrutinioError):
    """A message does not keep the contract: unknown schema id, trailing bytes, wrong type, naive time."""
