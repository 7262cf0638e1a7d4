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
    "replay": "give the rejected records of a source another chance, after its contract was put right",
    "migrate": "bring the warehouse at DATABASE_URL (or the embedded one) to the newest revision",
    "keys": "create, list, revoke or rotate the keys of the API",
    "contract": "accept the contract that the drift check of a source proposes, or show its versions",
    "source": "try a source without writing anything, or list the sources and how they are",
    "env": 'print the running stack\'s settings for a shell: eval "$(kasparro env)"',
}

KEYS_DESCRIPTION = """\
Keys of the API, in the warehouse at DATABASE_URL, else in that of the running stack."""
MAX_OVERLAP = 365 * 24 * 60
"""Minutes that a rotated key may stay valid."""


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
        if name == "keys":
            _add_key_actions(command)
        if name == "replay":
            command.add_argument("source", help="name of the source")
            command.add_argument(
                "--partition",
                action="append",
                default=[],
                metavar="KEY",
                help="only this day or file; may be repeated",
            )
        if name == "contract":
            _add_contract_actions(command)
        if name == "source":
            _add_source_actions(command)
    return main_parser


def _add_key_actions(command: argparse.ArgumentParser) -> None:
    command.description = KEYS_DESCRIPTION
    actions = command.add_subparsers(dest="action", required=True, metavar="action", title="actions")
    create = actions.add_parser("create", help="make a key and write it to standard output, this once")
    create.add_argument("--name", required=True, help="who uses it, such as a program's name")
    create.add_argument(
        "--scope", required=True, action="append", help="what it may do: read or trigger; may be repeated"
    )
    actions.add_parser("list", help="show every key, without its secret part")
    revoke = actions.add_parser("revoke", help="make a key invalid from now on")
    rotate = actions.add_parser("rotate", help="make a key with the name and scopes of another, which ends")
    for action in (revoke, rotate):
        action.add_argument("id", metavar="ID", help="the middle part of the key, as `keys list` shows it")
    rotate.add_argument(
        "--overlap",
        type=_minutes,
        default=0,
        metavar="MINUTES",
        help="how long the old key stays valid (default 0)",
    )


def _add_contract_actions(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="action", title="actions")
    accept = actions.add_parser("accept", help="write the proposed contract into the source's defs.yaml")
    accept.add_argument("--partition", metavar="KEY", help="whose drift to accept (default: the newest)")
    accept.add_argument("-y", "--yes", action="store_true", help="do not ask")
    accept.add_argument("--dry-run", action="store_true", help="show the difference, write nothing")
    show = actions.add_parser("show", help="list the contract's versions and what changed with each")
    for action in (accept, show):
        action.add_argument("source", metavar="SOURCE", help="the source's name: its folder in defs/")


def _add_source_actions(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="action", title="actions")
    trial = actions.add_parser(
        "try", help="extract and validate once, show what a run would do, and write nothing"
    )
    trial.add_argument("source", metavar="SOURCE", help="the source's name: its folder in defs/")
    trial.add_argument(
        "--records", type=_positive, default=100, metavar="N", help="records at most (default 100)"
    )
    listing = actions.add_parser("list", help="show each source: when it runs, how far it is, its last error")
    for action in (trial, listing):
        action.add_argument("--json", action="store_true", help="for programs")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


def _minutes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_OVERLAP:
        raise argparse.ArgumentTypeError(f"a whole number of minutes from 0 to {MAX_OVERLAP}, not {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is a sentence on standard error."""
    chosen = parser().parse_args(arguments)
    if sys.platform == "win32":
        print("The local stack needs Linux or macOS. On Windows, use WSL or docker compose.", file=sys.stderr)
        return 1
    # After the help: these take a second to import
    from kasparro_pipeline.stack import commands, contract, keys, logs, replay, source  # noqa: PLC0415

    run: dict[str, Callable[[StackSettings], int]] = {
        "up": commands.up,
        "down": commands.down,
        "status": commands.status,
        "etl": commands.etl,
        "migrate": commands.apply_migrations,
        "env": commands.environment,
        "logs": lambda found: logs.show(found, chosen.name, chosen.lines, follow=chosen.follow),
        "keys": lambda found: keys.run(found, chosen),
        "contract": lambda found: contract.run(found, chosen),
        "source": lambda found: source.run(found, chosen),
        "replay": lambda found: replay.run(found, chosen.source, chosen.partition),
    }
    try:
        return run[chosen.command](StackSettings())
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
