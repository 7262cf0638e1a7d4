"""The command line: arguments in, exit status out. What the commands do is in `commands.py` and `logs.py`."""

import argparse
import sys
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from kasparro_pipeline.stack.errors import StackError
from kasparro_pipeline.stack.settings import StackSettings

DESCRIPTION = """\
Runs Kasparro on this machine. Settings come from the environment and from .env; .env.example lists them.
Everything that is kept is under the state folder KASPARRO_HOME (.kasparro by default)."""

EPILOG = """\
exit status: 0 if it did what it says (for `up` also when the stack runs already), 1 if not, 2 for a wrong
argument, 3 from `status` when the stack does not run, 130 when interrupted"""

COMMANDS = {
    "up": "start the stack, launch the first run of every source, and stay until Ctrl-C",
    "down": "stop the stack from another terminal, and end what a killed one left behind",
    "status": "say what runs, where, and what each source did last",
    "logs": "show the end of the logs",
    "etl": "run every source now and wait; starts the stack for the time of it unless it runs",
    "migrate": "bring the warehouse at DATABASE_URL (or the embedded one) to the newest revision",
    "env": 'print the running stack\'s settings for a shell: eval "$(kasparro env)"',
}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    formatter = argparse.RawDescriptionHelpFormatter
    main_parser = argparse.ArgumentParser(
        "kasparro", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == "logs":
            command.add_argument("name", nargs="?", help="one log: api, code-server, daemon, postgres, …")
            command.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
            command.add_argument("-n", "--lines", type=int, default=20, help="lines of each (default 20)")
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is a sentence on standard error."""
    chosen = parser().parse_args(arguments)
    if sys.platform == "win32":
        print("The local stack needs Linux or macOS. On Windows, use WSL or docker compose.", file=sys.stderr)
        return 1
    # After the help: these take a second to import
    from kasparro_pipeline.stack import commands, logs  # noqa: PLC0415

    run: dict[str, Callable[[StackSettings], int]] = {
        "up": commands.up,
        "down": commands.down,
        "status": commands.status,
        "etl": commands.etl,
        "migrate": commands.apply_migrations,
        "env": commands.environment,
    }
    try:
        settings = StackSettings()
        if chosen.command == "logs":
            return logs.show(settings, chosen.name, chosen.lines, follow=chosen.follow)
        return run[chosen.command](settings)
    except ValidationError as error:
        for fault in error.errors():
            print(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})",
                file=sys.stderr,
            )
    except StackError as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
