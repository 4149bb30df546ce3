"""SIGTERM: the batch in hand is finished, and what does not come back is ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.support.ingest_samples import ROOT
from tests.support.waiting import WITHIN_S

_BLOCKED = """
import logging, os
from runtime.commands import stopping

logging.basicConfig()
stop, (read, write) = stopping(0.2), os.pipe()
print("ready", flush=True)
{work}
print("the work went on", flush=True)
"""


@pytest.mark.parametrize(
    ("work", "code", "says"),
    [
        ("os.read(read, 1)", 128 + signal.SIGTERM, "not stopped within 0.2 s: ended at once"),
        ("while True: pass", 128 + signal.SIGTERM, "not stopped within 0.2 s: ended at once"),
        ("stop.wait()", 0, "the work went on"),
    ],
)
def test_a_process_ends_within_seconds_of_sigterm_whatever_it_reads(work: str, code: int, says: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _BLOCKED.format(work=work)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert says in output


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_it_ends_though_nobody_reads_its_log_and_a_log_of_json_has_no_other_line(log_format: str) -> None:
    for is_read in (True, False):
        process = subprocess.Popen(
            [sys.executable, "-c", _BLOCKED.format(work="os.read(read, 1)")],
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}", "ESCRUTINIO_LOG_FORMAT": log_format},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n"
            if not is_read:
                process.stderr.close()
            process.send_signal(signal.SIGTERM)
            process.wait(WITHIN_S)
            line = process.stderr.read() if is_read else ""
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
        assert process.returncode == 128 + signal.SIGTERM
        if is_read and log_format == "json":
            assert json.loads(line)["message"].startswith("not stopped within 0.2 s")
