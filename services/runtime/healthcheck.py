"""Check a process's health: `python -m runtime.healthcheck http://127.0.0.1:9464/live`.

For images without curl. It imports no library, because a health check runs every few seconds.
"""

import json
import sys
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from schemas.text import visible

_TIMEOUT_S = 5.0


def ask(url: str) -> str | None:
    """Request `/live` or `/ready`. Returns None when all is well, else the reason, also when there is no answer."""
    try:
        with urlopen(url, timeout=_TIMEOUT_S):
            return None
    except HTTPError as answer:
        with answer:
            content = answer.read()
        try:
            return str(json.loads(content)["reason"])
        except (ValueError, KeyError, TypeError):
            return f"{url} answers {answer.code} {answer.reason}"
    except (URLError, HTTPException, OSError, ValueError) as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"


def main(arguments: list[str]) -> int:
    """Print `ok` or the reason. Returns the exit code: 0 when all is well, 1 when not, 2 for wrong use."""
    if len(arguments) != 1:
        print("use: python -m runtime.healthcheck http://127.0.0.1:9464/live", file=sys.stderr)
        return 2
    reason = ask(arguments[0])
    print("ok" if reason is None else visible(reason))
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
