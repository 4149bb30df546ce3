"""Fetch Kafka's jars once, and check each against its SHA-256 in jars.lock before each use.

Place: before the broker. Only what the lock file names is run, whatever a registry or the cache holds.
A crash while fetching leaves a temporary folder in the cache; a jar gets its name only after it was checked.

`python -m deploy.local lock` (`make lock`) resolves the two packages of ROOTS again and rewrites the lock file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import JarError
from deploy.local.progress import Step, Steps

KAFKA_VERSION = "4.4.0"
ROOTS = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    # The broker logs through SLF4J 1.7, which without a binding logs nothing.
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5"),
)
LOCK_FILE = Path(__file__).with_name("jars.lock")
_TRIES = 3
_AT_ONCE = 8


@dataclass(frozen=True, order=True)
class Jar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def is_at(self, path: Path) -> bool:
        """Return whether the file at `path` exists and has this jar's SHA-256."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


Fetch = Callable[[Jar, Path], Path]


def cache_folder() -> Path:
    """Return the folder of downloads of all checkouts: ESCRUTINIO_CACHE, or below XDG_CACHE_HOME, or ~/.cache."""
    if named := os.environ.get("ESCRUTINIO_CACHE"):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "escrutinio"


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Return the jars named in the lock file, in class path order."""
    lines = (line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines())
    return [Jar(*line[0].split(":"), *line[1:]) for line in lines if line]


def class_path(steps: Steps, jars: Sequence[Jar] | None = None, fetch: Fetch | None = None) -> str:
    """Return Java's class path of all jars, each checked against the lock file and fetched where missing.

    `fetch` puts one jar into a folder and returns its path; by default it comes from the registry.
    Raises JarError if one cannot be fetched or is not what the lock file names.
    """
    jars = read_lock() if jars is None else jars
    folder = cache_folder() / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not jar.is_at(folder / jar.file_name)]
    if missing:
        steps.line("Kafka", f"fetching {len(missing)} jars into {folder}, once for all checkouts")
        with steps.step("Kafka", f"fetched 0 of {len(missing)} jars") as step:
            _fetch(missing, folder, step, fetch or _from_registry)
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def _fetch(jars: Sequence[Jar], folder: Path, step: Step, fetch: Fetch) -> None:
    byte_count = 0
    with (
        tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as staging,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        jobs = {pool.submit(fetch, jar, Path(staging)): jar for jar in jars}
        try:
            for done_count, job in enumerate(as_completed(jobs), 1):
                fetched, jar = job.result(), jobs[job]
                if not jar.is_at(fetched):
                    raise JarError(
                        f"the SHA-256 of the fetched {jar.file_name} differs from the one in {LOCK_FILE.name}. "
                        "Nothing was run. Either the jar was altered on its way, or the lock file is wrong."
                    )
                byte_count += fetched.stat().st_size
                fetched.replace(folder / jar.file_name)
                step.say(f"fetched {done_count} of {len(jars)} jars, {byte_count / 1e6:.0f} MB")
        finally:
            pool.shutdown(cancel_futures=True)


def _from_registry(jar: Jar, staging: Path) -> Path:
    # Imported here: needed once per machine, and slow to import.
    import requests
    from jgo.maven import MavenContext

    artifact = (
        MavenContext(repo_cache=staging, timeout=60).project(jar.group, jar.artifact).at_version(jar.version).artifact()
    )
    for left in reversed(range(_TRIES)):
        try:
            return artifact.resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            # jgo writes straight to the final name: half a jar would pass for a whole one.
            if artifact.cached_path:
                artifact.cached_path.unlink(missing_ok=True)
            if not left:
                raise JarError(
                    f"could not fetch {jar.file_name}: {error}. The first start needs the network."
                ) from error
            time.sleep(1)
    raise AssertionError("unreachable")


def _resolve() -> Iterable[Jar]:
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=60)
        found: dict[tuple[str, str], str] = {}
        for root in ROOTS:
            # One at a time: resolved together, each root's managed versions would override the other's.
            inputs, transitive = context.resolver.resolve([context.create_dependency(Coordinate(*root))])
            for dependency in (*inputs, *transitive):
                found.setdefault((dependency.groupId, dependency.artifactId), dependency.version)
        for (group, artifact), version in sorted(found.items()):
            path = context.project(group, artifact).at_version(version).artifact().resolve()
            yield Jar(group, artifact, version, hashlib.sha256(path.read_bytes()).hexdigest())


def write_lock() -> int:
    """Resolve ROOTS again, rewrite the lock file, and return the number of jars."""
    jars = list(_resolve())
    lines = [f"{jar.group}:{jar.artifact}:{jar.version} {jar.sha256}\n" for jar in jars]
    head = "# The jars of the local broker, with their SHA-256. Written by `make lock`.\n"
    LOCK_FILE.write_text(head + "".join(lines), encoding="utf-8")
    return len(jars)
