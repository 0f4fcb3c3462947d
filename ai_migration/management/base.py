"""The base of both commands: errors become messages and exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, TextIO, cast

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    OutputWrapper,
)
from django.db import Error

from ai_migration.exceptions import (
    AIMigrationError,
    AmbiguousJobError,
    InvalidRequestError,
    UnknownEntityTypeError,
    UnknownJobError,
    nearest,
)
from ai_migration.management.calling import Telling, as_called
from ai_migration.models.leases import our_database
from ai_migration.models.sql.apart import own_sessions
from ai_migration.models.sql.outages import in_words
from ai_migration.models.sql.tenants import require_own_schema
from ai_migration.types import JobChanges

DONE, FAILED, WRONG_USAGE = 0, 1, 2
"""Exit codes. Interrupted: 128 and the signal's number, as shells count."""

_USAGE_ERRORS = (
    AmbiguousJobError,
    InvalidRequestError,
    UnknownEntityTypeError,
    UnknownJobError,
)
JOB_HELP = "The job: its id, any unambiguous beginning of it, or 'last' for the newest one."


class _Parser(CommandParser):
    """Refuses ``--option=--``, which Python's own parser drops before 3.13, and fails. Names the
    nearest of an argument's choices, as Python's own parser can from 3.14."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            if close := nearest(value, map(str, action.choices or ())):
                error.message += f". Did you mean {close!r}?"
            raise

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for argument in args or ():
            if argument == "--":  # no options follow
                break
            option, equals, value = str(argument).partition("=")
            if equals and value == "--" and option.startswith("-"):
                self.error(f"argument {option}: expected one argument, not '--'")
        return super().parse_known_args(args, namespace)


class ServiceCommand(BaseCommand):
    """A command over the service. Subclasses implement :meth:`run`.

    Attributes:
        stdout: The output of messages: commands in them are written as they have to be typed.
        plain: The output of everything else, such as rows' texts and JSON.
    """

    plain: OutputWrapper

    requires_system_checks = []  # the service checks what is asked for

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        _adopt(parser)  # Django does not ask for which
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options every command has."""
        parser.add_argument(
            "--json", action="store_true", help="Print one JSON document, without a progress bar."
        )

    def run(self, **options: Any) -> int:
        """Do the work, and return the exit code."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command, and turn every error into a message without a traceback."""
        self.as_json = bool(options["json"])
        self.plain, self.stdout = self.stdout, Telling(cast("TextIO", self.stdout))
        try:
            with own_sessions():
                require_own_schema(our_database())
                code = self.run(**options)
        except AIMigrationError as error:
            code = WRONG_USAGE if isinstance(error, _USAGE_ERRORS) else FAILED
            self._fail(error.code, error.message, error.field, code)
        except Error as error:
            words = in_words(error)
            self._fail("database_error", words[0].upper() + words[1:], None, FAILED)
        except KeyboardInterrupt:
            self.stderr.write("Stopped.")
            code = 130
        if code:
            sys.exit(code)

    def write_json(self, document: Any) -> None:
        """Print one JSON document."""
        self.plain.write(json.dumps(document, ensure_ascii=False, default=str))

    def _fail(self, code: str, message: str, field: str | None, returncode: int) -> None:
        if self.as_json:
            self.write_json({"error": {"code": code, "message": message, "field": field}})
            sys.exit(returncode)
        raise CommandError(as_called(message), returncode=returncode)


def _adopt(parser: argparse.ArgumentParser) -> None:
    parser.__class__ = _Parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for added in action.choices.values():
                _adopt(added)


def add_limit_arguments(parser: CommandParser) -> None:
    """Add the options for a job's limits and removals."""
    parser.add_argument("--rate-limit", type=int, metavar="N", help="Embedding requests a minute.")
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="Pause before more tokens than this are embedded.",
    )
    parser.add_argument(
        "--max-cost",
        metavar="AMOUNT",
        help="Pause before it costs more than this, by the embedder's PRICE_PER_MILLION_TOKENS.",
    )
    parser.add_argument(
        "--allow-removals",
        action="store_true",
        help="Allow removing more than half of a large index, if that many rows are gone.",
    )


def changes_of(options: dict[str, Any]) -> JobChanges:
    """Return the values of :func:`add_limit_arguments`, for a job that is resumed."""
    return JobChanges(
        options["rate_limit"],
        options["max_tokens"],
        options["max_cost"],
        options["allow_removals"] or None,
    )


def positive(value: str) -> int:
    """Return an option's value, which must be 1 or more, and fit every database.

    Raises:
        argparse.ArgumentTypeError: It is not.
    """
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"{value[:20]!r} is not a whole number of 1 or more")
    return number
