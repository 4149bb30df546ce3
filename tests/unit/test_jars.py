"""The broker's jars: what runs is what the lock file names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploy.local.errors import JarError
from deploy.local.jars import KAFKA_VERSION, Jar, class_path, read_lock
from deploy.local.progress import Steps

GOOD = b"the jar as it was locked"
JAR = Jar("org.example", "broker", "1.0", hashlib.sha256(GOOD).hexdigest())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESCRUTINIO_CACHE", str(tmp_path))
    return tmp_path / "jars"


def fetch_good(jar: Jar, folder: Path) -> Path:
    path = folder / jar.file_name
    path.write_bytes(GOOD)
    return path


def fetch_altered(jar: Jar, folder: Path) -> Path:
    path = folder / jar.file_name
    path.write_bytes(GOOD + b"!")
    return path


def fetch_nothing(jar: Jar, folder: Path) -> Path:
    raise AssertionError(f"{jar} is fetched into {folder} though the cache has it")


def test_a_jar_is_fetched_once(cache: Path) -> None:
    first = class_path(Steps(quiet=True), [JAR], fetch_good)
    assert first == str(cache / "broker-1.0.jar")
    assert class_path(Steps(quiet=True), [JAR], fetch_nothing) == first


def test_an_altered_jar_is_refused_and_not_kept(cache: Path) -> None:
    with pytest.raises(JarError, match=r"SHA-256 of the fetched broker-1\.0\.jar differs from the one in jars\.lock"):
        class_path(Steps(quiet=True), [JAR], fetch_altered)
    assert list(cache.iterdir()) == []


def test_a_jar_altered_in_the_cache_is_fetched_again(cache: Path) -> None:
    class_path(Steps(quiet=True), [JAR], fetch_good)
    (cache / "broker-1.0.jar").write_bytes(b"rotten")
    class_path(Steps(quiet=True), [JAR], fetch_good)
    assert (cache / "broker-1.0.jar").read_bytes() == GOOD


def test_the_lock_file_names_every_jar_with_its_sum() -> None:
    jars = read_lock()
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({jar.file_name for jar in jars}) == len(jars)
    # Every part of Kafka is of one version: a resolver once mixed in an older client.
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
