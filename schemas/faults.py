"""Describe a value that a model refuses: one wording, for messages, rejections and log lines (pure)."""

from pydantic import ValidationError

_SHOWN = 40


def first_fault(error: ValidationError, *, is_secret: bool = False) -> str:
    """Describe the first fault of a validation error: `counts.votes.peru-libre: Input should be … (got 'x')`.

    Returns:
        The place (field names and indexes joined by dots), pydantic's message, and the first characters of the input.
        A fault between fields has no place of its own: only its message is returned. `is_secret` leaves the input out.
    """
    fault = error.errors(include_url=False, include_context=False)[0]
    if not fault["loc"]:
        return fault["msg"]
    place = f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
    return place if is_secret else f"{place} (got {str(fault['input'])[:_SHOWN]!r})"
