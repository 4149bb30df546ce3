"""Faults of the contract.

    EscrutinioError        every error that this project raises on purpose
    └── ContractError      bytes or values that break the contract of `schemas/`
        └── NewerSchema    a message that a newer release wrote

Bad *data* inside a well-formed document is not a fault but a value: `rules.Finding`.
"""


class EscrutinioError(Exception):
    """Root of every error raised on purpose. `str()` says what is wrong, where, and what to do."""

    exit_code = 2
    """Exit code of a command: 1 for a negative answer, 2 for a fault."""


class ContractError(EscrutinioError):
    """A message breaks the contract: unknown schema id, trailing bytes, wrong type, naive time."""


class NewerSchema(ContractError):
    """A message of a newer release's schema: its id is above all known ones, and a header gives the schema's hash."""
