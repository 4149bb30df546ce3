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
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    place = f"{'.'.join(str(part)[:_SHOWN] for part in fault['loc'])}: {message}"
    return place if is_secret or fault["type"] == "missing" else f"{place} (got {shown(fault['input'])})"


def shown(value: object) -> str:
    """Return the first characters of a value, in quotes."""
    try:
        return repr(str(value)[:_SHOWN])
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        return f"{type(value).__name__} too long to show"
