"""Faults of the contract.

    EscrutinioError        anything this project raises on purpose
    └── ContractError      bytes or values that are not what `schemas/` promises
        └── NewerSchema    a message that a newer release wrote

Bad *data* inside a well-formed document is not a fault but a value: `rules.Finding`.
"""


class EscrutinioError(Exception):
    """Root of every error raised on purpose. `str()` says what is wrong, where, and what to do."""

    exit_code = 2
    """What a command ends with: 1 for a negative answer, 2 for a fault."""


class ContractError(EscrutinioError):
    """A message does not keep the contract: unknown schema id, trailing bytes, wrong type, naive time."""


class NewerSchema(ContractError):
    """A message of a schema that only a newer release has: an id above all that are known, and a header with its hash."""
