"""The account that PostgreSQL runs under: it refuses to be root. Starting it is in `embedded.py`."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kasparro_pipeline.stack.errors import StackError

ACCOUNT = "pgserver"
"""Used only when root starts the stack; anybody else runs PostgreSQL under their own account."""


@dataclass(frozen=True)
class ServerAccount:
    """A numeric user and group."""

    uid: int
    gid: int


def server_account() -> ServerAccount | None:
    """The account to switch to, made if it is missing; None when PostgreSQL can run as the caller.

    Raises:
        StackError: the caller is root and the account cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        useradd = shutil.which("useradd")
        if useradd is None:
            raise StackError(
                f"PostgreSQL does not run as root, and there is no `useradd` to make the account {ACCOUNT!r} "
                "for it. Run this as an ordinary user, or set DATABASE_URL to a server of your own."
            ) from None
        # Fixed arguments, absolute path
        subprocess.run([useradd, "--system", ACCOUNT], check=True)  # noqa: S603
        entry = pwd.getpwnam(ACCOUNT)
    return ServerAccount(entry.pw_uid, entry.pw_gid)


def let_others_through(folder: Path) -> None:
    """Let other accounts pass through the folders above `folder`, without letting them list those."""
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def let_others_read(folder: Path) -> None:
    """Make a folder of programs readable to other accounts: a strict umask at install time hides it."""
    let_others_through(folder)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)
