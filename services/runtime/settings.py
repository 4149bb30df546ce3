"""A command's configuration: flags over environment (`ESCRUTINIO_…`) over secrets over a file. Only a `cli` reads it.

An empty variable counts as not set, because a compose file or a shell cannot always omit it. A secret is a file in
`/run/secrets` with the name of a setting, as docker compose and Kubernetes mount it:
`/run/secrets/escrutinio_writer_url`. The file is the first `escrutinio.toml`, or `.local/escrutinio.toml` (which the
local stack writes), in this folder or one above it; paths in it are relative to it. Any of them can hold a password, so
no value stands in a message.
"""

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableSetting

from runtime.files import read_text
from runtime.kafka import access
from runtime.kafka.access import KafkaAccess
from runtime.logs import LogFormat
from schemas import toml
from schemas.errors import ContractError, EscrutinioError
from schemas.faults import first_fault
from schemas.text import first_invisible
from schemas.topics import TopicNames

_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
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
    if not (host and colon and access.is_port(port)):
        raise ValueError("not HOST:PORT such as 127.0.0.1:9464")
    return Address(host.strip("[]"), int(port))


HttpAddress = Annotated[Address, NoDecode, BeforeValidator(_address)]
"""A setting with the address at which an endpoint listens; of the environment as it is, not as JSON."""


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
    topic_prefix: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]*$", max_length=200)] = ""
    log_format: LogFormat = LogFormat.AUTO
    http: HttpAddress | None = None
    schemas: Path | None = None
    """A folder with the schemas of a later release, for what reads the log: see `learn_schemas`."""

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
            sources.append(InitSettingsSource(settings_cls, _of_file(settings_cls, file)))
        return tuple(sources)

    @field_validator("*", mode="before")
    @classmethod
    def _in_digits(cls, value: object, info: ValidationInfo) -> object:
        is_number = cls.model_fields[info.field_name or ""].annotation in (int, float)
        if is_number and isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise ValueError("not a number in the digits 0 to 9, such as 10")
        return value

    @field_validator("*")
    @classmethod
    def _all_visible(cls, value: object) -> object:
        if isinstance(value, str | Path) and (hidden := first_invisible(str(value))) is not None:
            raise ValueError(f"has the invisible character {hidden}; remove it")
        return value

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Read the settings, with the given flags. Raises SettingsError."""
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(f"configuration: {first_fault(error, is_secret=True)}") from None
        except RecursionError:  # the library reads JSON where a setting begins with a bracket
            raise SettingsError("configuration: a setting has hundreds of brackets; correct it") from None
        except (UnreadableSetting, OSError, UnicodeDecodeError) as error:  # of the environment, of a secret's file
            words = "a secret is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise SettingsError(f"configuration: {words}; correct it or remove it") from None

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

    def learn_schemas(self) -> None:
        """Read the schemas of a later release, if their folder is set: once, before the log. Raises SettingsError."""
        if self.schemas is None:
            return
        from schemas.codec import learn  # a command's help needs none of it

        try:
            learn(self.schemas)
        except ContractError as error:
            raise SettingsError(f"configuration: schemas: {error}") from error

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
    return _tables(file)


def _tables(file: Path) -> dict[str, Any]:
    try:
        return toml.parse(read_text(file))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"configuration: the file {file} cannot be used: {error}; correct it or remove it"
        ) from error


def _of_file(settings_cls: type[BaseSettings], file: Path) -> dict[str, Any]:
    """Return the settings of a configuration file; paths in it are relative to it."""
    given = _tables(file)
    for name, field in settings_cls.model_fields.items():
        if field.annotation in (Path, Path | None) and isinstance(path := given.get(name), str):
            given[name] = file.parent / path
    return given
