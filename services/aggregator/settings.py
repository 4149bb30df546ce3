"""The aggregator's configuration: flags over environment (`ESCRUTINIO_…`) over a file. Only `cli` reads it.

The file is the first `escrutinio.toml`, or `.local/escrutinio.toml` (which the local stack writes), in this folder or
one above it.
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.errors import EscrutinioError


class SettingsError(EscrutinioError):
    """The configuration cannot be read."""


def settings_file(start: Path) -> Path | None:
    """The nearest configuration file at `start` or above."""
    for folder in (start, *start.parents):
        for candidate in (folder / "escrutinio.toml", folder / ".local" / "escrutinio.toml"):
            if candidate.is_file():
                return candidate
    return None


class Settings(BaseSettings):
    """What the aggregator needs to know of its surroundings."""

    model_config = SettingsConfigDict(env_prefix="ESCRUTINIO_", frozen=True, extra="ignore")

    bootstrap_servers: str | None = None
    owner_url: str | None = None
    writer_url: str | None = None
    reader_url: str | None = None
    topic_prefix: str = ""
    group: str | None = Field(default=None, min_length=1)
    session_timeout: float = Field(default=10.0, ge=1)
    """Seconds."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file."""
        file = settings_file(Path.cwd())
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, file)) if file is not None else sources


def load(**flags: Any) -> Settings:
    """The settings, with the flags that were given. Raises SettingsError."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise SettingsError(f"{settings_file(Path.cwd()) or 'environment'}: {name}: {fault['msg']}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{settings_file(Path.cwd())} is not TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}") from error
