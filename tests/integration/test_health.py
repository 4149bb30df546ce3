"""The endpoint and who asks it, without a service behind."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from deploy.local.server import free_port
from runtime import health
from runtime.health import HealthError, Liveness, new_registry, serve_health
from runtime.healthcheck import ask
from runtime.settings import Address
from schemas.errors import EscrutinioError
from tests.support.waiting import WITHIN_S, eventually

CHECKOUT = Path(__file__).parents[2]


class Process:
    """What is asked."""

    def __init__(self) -> None:
        self.liveness, self.stop = Liveness(), threading.Event()
        self.behind: str | None = None
        self.address = Address("127.0.0.1", free_port())
        self.url = f"http://127.0.0.1:{self.address.port}"

    def not_ready(self) -> str | None:
        return self.behind


@pytest.fixture
def process() -> Iterator[Process]:
    one = Process()
    with serve_health(one.address, new_registry("test"), one.liveness, one.not_ready, one.stop):
        yield one


def test_live_and_ready_are_two_questions(process: Process) -> None:
    assert (ask(f"{process.url}/live"), ask(f"{process.url}/ready")) == (None, None)
    process.behind = "7 events behind"
    assert (ask(f"{process.url}/live"), ask(f"{process.url}/ready")) == (None, "7 events behind")
    process.liveness.record_problem("no broker answers at «x»")
    assert ask(f"{process.url}/live") == ask(f"{process.url}/ready") == "no broker answers at «x»"
    process.liveness.record_progress()
    assert ask(f"{process.url}/live") is None


def test_a_client_that_goes_away_or_breaks_a_check_is_no_stray_line_of_the_log(
    process: Process, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for request in (b"GET /metrics HTTP/1.1\r\n\r\n", b"\x1b[2J\xff /x\r\n\r\n", b"G"):
        with socket.create_connection(process.address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # the end is a reset
            client.sendall(request)
    process.liveness.not_live = lambda: str(1 // 0)  # type: ignore[method-assign]
    with serve_health(
        Address("127.0.0.1", port := free_port()),
        new_registry("test"),
        process.liveness,
        process.not_ready,
        process.stop,
    ):
        assert ask(f"http://127.0.0.1:{port}/live") is not None
    eventually(lambda: "a request for metrics or health failed: ZeroDivisionError" in caplog.text)
    # Another test's log may be written there, too.
    assert "Exception occurred during processing of request" not in capsys.readouterr().err


def test_who_is_silent_for_too_long_is_not_live(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "STALL_S", -1.0)
    assert ask(f"{process.url}/live") == "no progress for 0 s"


def test_a_client_that_says_nothing_holds_up_nobody(process: Process) -> None:
    with socket.create_connection(process.address):
        assert ask(f"{process.url}/live") is None


def test_what_is_not_there_is_said(process: Process) -> None:
    with pytest.raises(HTTPError) as answer:
        urlopen(f"{process.url}/health")
    with answer.value:
        assert (answer.value.code, answer.value.read()) == (404, b"the paths are /metrics, /live and /ready\n")
    assert "answers 404" in (ask(f"{process.url}/health") or "")


def test_the_command_has_an_exit_code_and_a_reason(process: Process) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "runtime.healthcheck", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    assert run(f"{process.url}/live") == (0, "ok\n")
    process.liveness.record_problem("no broker answers")
    assert run(f"{process.url}/live") == (1, "no broker answers\n")
    code, reason = run(f"http://127.0.0.1:{free_port()}/live")
    assert (code, "does not answer" in reason) == (1, True)
    assert run("no address") == (1, "no address does not answer: unknown url type: 'no address'\n")
    assert run()[0] == 2


def test_a_fault_is_told_until_the_process_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EXIT_DELAY_S", 3600.0)
    process = Process()
    ended: list[EscrutinioError] = []

    def work() -> None:
        try:
            with serve_health(process.address, new_registry("test"), process.liveness, process.not_ready, process.stop):
                raise EscrutinioError("the log has a hole")
        except EscrutinioError as fault:
            ended.append(fault)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    told: str | None = None
    while told is None or "does not answer" in told:
        told = ask(f"{process.url}/live")
    assert told == "the log has a hole"
    assert not ended
    process.stop.set()
    thread.join(WITHIN_S)
    assert [str(fault) for fault in ended] == ["the log has a hole"]
    assert "does not answer" in (ask(f"{process.url}/live") or "")


def test_an_address_in_use_is_refused_in_one_line(process: Process) -> None:
    with (
        pytest.raises(
            HealthError, match=rf"cannot listen at 127\.0\.0\.1:{process.address.port}: Address already in use"
        ),
        serve_health(process.address, new_registry("test"), Liveness(), process.not_ready, process.stop),
    ):
        pass


def test_without_an_address_nothing_listens() -> None:
    process = Process()
    with serve_health(None, new_registry("test"), process.liveness, process.not_ready, process.stop):
        assert "does not answer" in (ask(f"{process.url}/live") or "")
