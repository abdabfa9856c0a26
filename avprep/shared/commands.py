"""How every command behaves: errors to exit codes, logging, progress, --config.

Exit codes: 0 done, 1 a failure of ours, 2 a user error, 75 interrupted and resumable, 141 nobody reads the output.
"""

from __future__ import annotations

import difflib
import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from avprep.shared import streams
from avprep.shared.answers import NextStep, coloured, print_next
from avprep.shared.caches import prepare_caches
from avprep.shared.configs import flat
from avprep.shared.errors import Interrupted, UserError
from avprep.shared.outputs import Output, check_outputs, overwrite_option
from avprep.shared.signals import interruptible
from avprep.shared.text import check_utf8, print_anything, use_utf8

HELP_OPTIONS = ["-h", "--help"]
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75
EXIT_READER_GONE = 128 + signal.SIGPIPE
NO_TEMPORARY = "No usable temporary directory"  # as tempfile has it
PLAIN_LINE_SECONDS = 10.0


class Command(click.Command):
    """A click command that also has -q and -v, and does not begin while an output would spoil an input."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if any(isinstance(param.type, Output) and param.type.suffixes for param in self.params):
            self.params.append(overwrite_option())
        self.params += loudness_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """-h and --help, whichever context asks first: click keeps the first answer."""
        return HELP_OPTIONS

    def invoke(self, ctx: click.Context) -> Any:
        check_outputs(ctx)
        result = super().invoke(ctx)
        root = ctx.find_root().command
        print_next(ctx, root.next_steps if isinstance(root, Group) else {})
        return result


class Group(click.Group):
    """A click group whose commands end in the documented exit codes, errors in one line; UTF-8 in every locale."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, next_steps: Mapping[str, NextStep] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.next_steps = next_steps or {}
        self.params += loudness_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """As of `Command`."""
        return HELP_OPTIONS

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's own, which ends the process; without `standalone_mode` errors are raised."""
        if args is None:  # the process is this command
            use_utf8()
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        print_anything()
        with streams.guarded() as output, interruptible():
            set_loudness(logging.INFO)
            code = self._exit_code(args, prog_name=prog_name, complete_var=complete_var, **extra)
            output.flush()
            if output.failure is not None and code == 0:
                code = unprinted(output.failure)
        sys.exit(code)

    def _exit_code(self, words: Sequence[str] | None, **named: Any) -> int:
        """Run the command; its exit code, its error printed."""
        try:
            check_utf8(words or sys.argv[1:])
            prepare_caches(os.environ)
            code = super().main(words, standalone_mode=False, **named)
            return code if isinstance(code, int) else 0
        except UserError as error:
            return _failed(str(error), EXIT_USER_ERROR)
        except FileNotFoundError as error:
            if NO_TEMPORARY not in str(error):
                raise
            return _failed(f"There is no folder for temporary files ({error.strerror}); set TMPDIR.", EXIT_USER_ERROR)
        except (Interrupted, KeyboardInterrupt, click.Abort) as error:
            click.echo(f"interrupted: {str(error) or 'run the same command again'}", err=True)
            return EXIT_INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return EXIT_USER_ERROR
        except click.UsageError as error:
            return _failed(_sentence_of(error), EXIT_USER_ERROR)
        except click.ClickException as error:
            return _failed(error.format_message(), EXIT_USER_ERROR)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's own, of every version of it: an unknown name is held against those that there are."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1, cutoff=0.45)
            ctx.fail(f"No such command '{name}'" + "".join(f"; did you mean '{one}'?" for one in near))
        return super().resolve_command(ctx, args)


def _failed(sentence: str, code: int) -> int:
    """`code`, after one line on what is wrong, with -v also where."""
    if logging.getLogger("avprep").level == logging.DEBUG:
        import traceback

        click.echo(traceback.format_exc(), err=True, nl=False)
    click.echo(f"{coloured('error:', 'red')} {sentence}", err=True)
    return code


def _sentence_of(error: click.UsageError) -> str:
    """A mistake in the call as one line that ends in where the options are explained."""
    sentence = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.NoSuchOption):
        sentence = f"No such option '{error.option_name}'"
        known = [opt for param in error.ctx.command.params for opt in param.opts] if error.ctx else []
        near = difflib.get_close_matches(error.option_name, known, 1)
        sentence += "".join(f"; did you mean '{one}'?" for one in near)
    if error.ctx is None:
        return sentence
    end = " " if sentence.endswith("?") else "; "
    return f"{sentence}{end}'{error.ctx.command_path} --help' lists what can be given."


def unprinted(failure: OSError) -> int:
    """The exit code of a command whose output was lost: as of a process that SIGPIPE ended, where the reader went."""
    if failure.errno == errno.EPIPE:
        return EXIT_READER_GONE
    reason = "it is closed" if failure.errno == errno.EBADF else failure.strerror
    click.echo(f"error: What the command prints could not be written to standard output ({reason}).", err=True)
    return EXIT_USER_ERROR


class _ToStandardError(logging.Handler):
    """Writes to the standard error of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def set_loudness(level: int) -> None:
    """Print our messages from `level` on: INFO usually; WARNING also ends progress; DEBUG adds times and libraries."""
    loud = level == logging.DEBUG
    handler = _ToStandardError()
    handler.setFormatter(logging.Formatter(f"{'%(asctime)s ' * loud}%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, _ToStandardError):
            root.removeHandler(old)
    if not root.handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO if loud else logging.WARNING)
    for package in ("avprep", "avtrain"):
        logging.getLogger(package).setLevel(level)


def loudness_options() -> list[click.Parameter]:
    """The options -q and -v."""

    def option(names: Sequence[str], level: int, text: str) -> click.Option:
        def choose(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
            if given:
                set_loudness(level)

        return click.Option(names, is_flag=True, expose_value=False, callback=choose, help=text, show_default=False)

    return [
        option(("-q", "--quiet"), logging.WARNING, "Print results, warnings and errors; no progress, no notes."),
        option(("-v", "--verbose"), logging.DEBUG, "Print times, libraries' notes and where an error arose."),
    ]


def config_option(
    upgraded: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A `--config FILE` option: the settings of a saved JSON config become the command's defaults.

    `upgraded` adds to settings of an earlier version what they meant without naming it.
    """

    def read(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
        if path is None:
            return
        try:
            saved = json.loads(path.read_bytes())
            values = flat(upgraded(saved.get("config", saved)))
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is not a saved config ({error}); give a config.json or build.json.") from None
        known = {param.name for param in ctx.command.params}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"{path} sets {unknown[0]!r}, which '{ctx.info_name}' does not have.")
        ctx.default_map = {name: value for name, value in values.items() if value is not None}

    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=read,
        help="Repeat a saved config; options given here win over it.",
    )


class Progress:
    """A tqdm bar on a terminal, else a plain line every 10 s; on standard error, or nowhere if `quiet` or after -q."""

    def __init__(self, total: int, unit: str, title: str, quiet: bool = False, from_seconds: float = 0.0) -> None:
        """`from_seconds`: what takes less is not reported."""
        self.total, self.unit, self.title, self.from_seconds = total, unit, title, from_seconds
        self.quiet = quiet or logging.getLogger("avprep").level > logging.INFO
        self.done = self._printed = 0
        self.note = ""
        self._begin = self._last = time.monotonic()
        self._bar: Any = None
        if not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, desc=title, dynamic_ncols=True, delay=from_seconds)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.done > self._printed and time.monotonic() - self._begin >= self.from_seconds:
            self._line()

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count `count` more units; `note` replaces the short text shown beside the count."""
        self.done += count
        self.note = self.note if note is None else note
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last >= PLAIN_LINE_SECONDS:
            self._line()

    def _line(self) -> None:
        if self.quiet:
            return
        self._last, self._printed = time.monotonic(), self.done
        seconds = max(self._last - self._begin, 1e-9)
        rate = self.done / seconds
        left = duration((self.total - self.done) / rate) if 0 < self.done < self.total else ""
        eta = f", about {left} left" if left else ""
        note = f", {self.note}" if self.note else ""
        click.echo(f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s{eta}{note}", err=True)


def duration(seconds: float) -> str:
    """A length of time such as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
