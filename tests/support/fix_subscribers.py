"""The programs of examples/subscribers, built once a session with tools of the lock file, and run as a newsroom runs
them."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local import java
from deploy.local.jars import cache_folder, class_path, read_lock
from deploy.local.progress import Steps
from schemas.codec import WRITTEN
from tests.support.fix_recount import go_built
from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]
SUBSCRIBERS = CHECKOUT / "examples" / "subscribers"


class Subscriber:
    """A running program, and the lines that it has printed so far."""

    def __init__(self, command: Sequence[str]) -> None:
        self.lines: list[str] = []
        self.said: list[str] = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._threads = [
            threading.Thread(target=lambda into=into, of=of: into.extend(line.rstrip("\n") for line in of))
            for into, of in ((self.lines, self.process.stdout), (self.said, self.process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def prints(self, *expected: str) -> None:
        """Wait until these lines stand in what was printed, one behind the other, others between them."""

        def is_there() -> bool:
            assert self.process.poll() is None, (self.lines, self.said)
            lines = iter(list(self.lines))
            return all(line in lines for line in expected)

        eventually(is_there, lambda: "\n".join([*expected, "--- is not in", *self.lines, *self.said]))

    def end(self) -> list[str]:
        """Ask it to stop, which it has to do in good order; all that it printed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        finally:
            self.process.kill()
            for thread in self._threads:
                thread.join()
        assert code in (0, 128 + signal.SIGTERM), self.said  # Java has no other end by a signal
        return self.lines


@pytest.fixture
def subscribe() -> Iterator[Callable[[Sequence[str]], Subscriber]]:
    """Starts a program; those that still run at the end of the test are killed."""
    started: list[Subscriber] = []

    def start(command: Sequence[str]) -> Subscriber:
        started.append(Subscriber(command))
        return started[-1]

    yield start
    for subscriber in started:
        subscriber.process.kill()
        subscriber.process.communicate()


@pytest.fixture(scope="session")
def go_subscriber(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the one in Go. What Go compiles and fetches is kept in its own caches, once for all checkouts."""
    return [str(go_built(SUBSCRIBERS / "go", tmp_path_factory.mktemp("subscriber") / "subscriber"))]


@pytest.fixture(scope="session")
def javascript_subscriber(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the one in JavaScript. Its packages, by the hashes of its lock file, are fetched once for all
    checkouts."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js with npm on this machine (.ci/run installs them)")
    source, folder = SUBSCRIBERS / "javascript", tmp_path_factory.mktemp("subscriber")
    locked = [source / name for name in ("package.json", "package-lock.json", ".npmrc")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in locked)).hexdigest()
    kept = cache_folder() / "npm" / digest[:16]
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as staging:
            new = Path(staging) / "new"
            new.mkdir()
            for path in locked:
                shutil.copy(path, new)
            subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=new, check=True)
            with suppress(OSError):  # another session was faster
                new.rename(kept)
    shutil.copy(source / "subscriber.js", folder)
    shutil.copy(source / "package.json", folder)
    (folder / "node_modules").symlink_to(kept / "node_modules")
    return [node, str(folder / "subscriber.js")]


@pytest.fixture(scope="session")
def java_subscriber(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the one in Java, with classes generated of the released schemas."""
    return java_built(tmp_path_factory.mktemp("subscriber"), {name: WRITTEN[name].path for name in READ})


READ = ("AreaCount", "Notice", "IngestStatus", "AggregatorStatus")
"""The records that a newsroom reads."""


def java_built(made: Path, schemas: Mapping[str, Path]) -> list[str]:
    """Generate the classes of schemas into a folder, compile the program with them, and return its command.

    Its jars are fetched once for all checkouts; a Java without a compiler is enough.
    """
    source = SUBSCRIBERS / "java"
    jars = class_path(Steps(quiet=True), read_lock(source / "jars.lock"))
    run = [str(java.find()), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
    own = os.pathsep.join([str(made), jars])

    def compiled(*files: Path) -> None:
        compiler = [*run, jars, "org.eclipse.jdt.internal.compiler.batch.Main"]
        subprocess.run([*compiler, "-17", "-nowarn", "-cp", own, "-d", str(made), *map(str, files)], check=True)

    compiled(source / "Generate.java")
    files = map(str, schemas.values())
    subprocess.run([*run, own, "Generate", str(made / "generated"), *files], check=True, stderr=subprocess.DEVNULL)
    compiled(source / "Subscriber.java", *sorted((made / "generated").rglob("*.java")))
    return [*run, own, "Subscriber"]
