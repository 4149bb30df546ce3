"""The API's configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from api.limits import Rates, read_keys
from runtime.settings import Address, HttpAddress, Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ApiSettings(Settings):
    """The settings of every command, where the API listens (on this machine alone, unless set), and what it reads."""

    listen: HttpAddress = Address("127.0.0.1", 8081)
    reader_url: str | None = None
    rate: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Requests a minute and address under `/v1`; 0: any. Default: 600, and any on loopback without proxies."""
    keys: Path | None = None
    """A file with the keys by which one may ask ten times as often."""
    proxies: str | None = None
    """Addresses of proxies whose X-Forwarded-For is believed, joined by commas."""

    @property
    def rates(self) -> Rates | None:
        """How often one may ask. Raises KeysError."""
        rate = self.rate
        if rate is None:
            is_ours_alone = self.listen.host in LOOPBACK and self.proxies is None
            rate = 0 if is_ours_alone else Rates.by_address
        if rate == 0:
            return None
        return Rates(rate, 10 * rate, {} if self.keys is None else read_keys(self.keys))
