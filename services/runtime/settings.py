"""A command's configuration: flags over environment (`ESCRUTINIO_…`) over secrets over a file. Only a `cli` reads it.

An empty variable counts as not set, because a compose file or a shell cannot always omit it. A secret is a file in
`/run/secrets` with the name of a setting, as docker compose and Kubernetes mount it:
`/run/secrets/escrutinio_writer_url`. The file is the first `escrutinio.toml`, or `.local/escrutinio.toml` (which the
local stack writes), in this folder or one above it; paths in it are relative to it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from runtime.kafka import access
from runtime.kafka.access import KafkaAccess
from runtime.logs import LogFormat
from schemas.errors import EscrutinioError
from schemas.faults import first_fault
from schemas.topics import TopicNames

_FILES = ("escrutinio.toml", ".local/escrutinio.toml")
_SECRETS = Path("/run/secrets")
LOCAL_HINT = "; the local stack does not run: `make demo` starts it"


class Address(NamedTuple):
    """Address at which the endpoint listens."""

    host: str
    port: int


def _address(text: object) -> object:
    """Parse `HOST:PORT` (an IPv6 host in brackets). Raises ValueError."""
    if not isinstance(text, str):
        return text
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{text!r} is not HOST:PORT such as 127.0.0.1:9464")
    return Address(host.strip("[]"), int(port))


HttpAddress = Annotated[Address, BeforeValidator(_address)]
"""A setting with the address at which the endpoint listens."""


class SettingsError(EscrutinioError):
    """The configuration cannot be read."""


class NotGiven(SettingsError):
    """A required setting is not given."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"--{name.replace('_', '-')} is not given. Give it, set ESCRUTINIO_{name.upper()}, "
            "or start the local stack: make demo"
        )


class Settings(BaseSettings):
    """The settings of every command. Each service adds its own."""

    model_config = SettingsConfigDict(env_prefix="ESCRUTINIO_", env_ignore_empty=True, frozen=True, extra="ignore")

    bootstrap_servers: str | None = None
    kafka_config: Path | None = None
    """A file with the addresses and credentials for Kafka: see `runtime.kafka.access`."""
    topic_prefix: str = ""
    log_format: LogFormat = LogFormat.AUTO
    http: HttpAddress | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """List the sources: flags, environment, secrets, then the file."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if _SECRETS.is_dir():
            sources.append(SecretsSettingsSource(settings_cls, _SECRETS))
        if (file := _file(Path.cwd())) is not None:
            sources.append(_File(settings_cls, file))
        return tuple(sources)

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Read the settings, with the given flags. Raises SettingsError."""
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(f"configuration: {first_fault(error, is_secret=True)}") from error

    def need(self, name: str) -> str:
        """Return a required setting. Raises NotGiven with the ways to give it."""
        if (value := getattr(self, name)) is None:
            raise NotGiven(name)
        return str(value)

    @property
    def kafka(self) -> KafkaAccess:
        """Addresses and credentials for Kafka. Raises NotGiven, or AccessError for a file that cannot be used."""
        if self.kafka_config is not None:
            return access.read(self.kafka_config, self.bootstrap_servers)
        return KafkaAccess(
            servers := self.need("bootstrap_servers"),
            hint=LOCAL_HINT if servers == local_stack().get("bootstrap_servers") else "",
        )

    @property
    def names(self) -> TopicNames:
        """The names of the topics, with the prefix."""
        return TopicNames(self.topic_prefix)


def _file(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def local_stack() -> dict[str, Any]:
    """Return the settings of the local stack if its file is the one in use; else none."""
    file = _file(Path.cwd())
    if file is None or not file.match(_FILES[-1]):
        return {}
    return tomllib.loads(file.read_text(encoding="utf-8"))


class _File(TomlConfigSettingsSource):
    """A configuration file; paths in it are relative to it."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        try:
            super().__init__(settings_cls, path)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"configuration: the file {path} cannot be used: {error}; correct it or remove it"
            ) from error
        for name, field in settings_cls.model_fields.items():
            if field.annotation in (Path, Path | None) and isinstance(given := self.init_kwargs.get(name), str):
                self.init_kwargs[name] = path.parent / given
