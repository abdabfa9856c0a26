"""How every command behaves: errors to exit codes, logging, signals, progress, --config; the sub-command doctor.

Exit codes: 0 done, 1 a failure of ours, 2 a user error, 75 interrupted and resumable.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from avprep.shared.configs import flat
from avprep.shared.errors import Interrupted, UserError
from avprep.shared.text import print_anything, use_utf8

if TYPE_CHECKING:
    from avprep.shared.machine import Finding

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75
PLAIN_LINE_SECONDS = 10.0


class Group(click.Group):
    """A click group whose commands end in the documented exit codes, and read and write UTF-8 in every locale."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        if args is None:  # the process is this command
            use_utf8()
        return super().main(args, *more, **named)

    def invoke(self, ctx: click.Context) -> Any:
        print_anything()
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        for package in ("avprep", "avtrain"):
            logging.getLogger(package).setLevel(logging.INFO)
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(EXIT_USER_ERROR)
        except (Interrupted, KeyboardInterrupt) as error:
            click.echo(f"interrupted: {error or 'the same command resumes it'}", err=True)
            ctx.exit(EXIT_INTERRUPTED)


def config_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A `--config FILE` option: the settings of a saved JSON config become the command's defaults."""

    def read(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
        if path is None:
            return
        try:
            saved = json.loads(path.read_bytes())
            values = flat(saved.get("config", saved))
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


def doctor_command(examine: Callable[[Sequence[Path]], list[Finding]]) -> click.Command:
    """The sub-command `doctor`, which prints what `examine` finds; given the folders whose disks are to be measured."""

    @click.command("doctor")
    @click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_context
    def doctor(ctx: click.Context, folders: tuple[Path, ...], as_json: bool) -> None:
        """Say what is installed and what this machine gives; exit code 1 where something needed is missing.

        FOLDERs are those whose disks are measured; default: the one for temporary files and the present one.
        """
        from avprep.shared import machine

        findings = examine(folders)
        click.echo(machine.as_json(findings) if as_json else machine.as_lines(findings))
        if machine.lacking(findings):
            ctx.exit(1)

    return doctor


class StopRequest:
    """Becomes true once SIGTERM or SIGINT has arrived.

    Schedulers and torchrun send SIGTERM more than once: again, it changes nothing. A second SIGINT, from somebody at a
    terminal, raises KeyboardInterrupt, unless `patient`: under torchrun, Ctrl-C comes twice as well.
    """

    def __init__(self, patient: bool = False) -> None:
        self.name: str | None = None
        self._patient = patient

    def __bool__(self) -> bool:
        return self.name is not None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextlib.contextmanager
def stop_on_signals(patient: bool = False) -> Iterator[StopRequest]:
    """A StopRequest that listens while the block runs (in the main thread; elsewhere it never fires).

    Where it has fired, the process ignores both signals from then on, so that a late one cannot change its exit code.
    """
    request = StopRequest(patient)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if request else handler)


class Progress:
    """A tqdm bar on a terminal, one plain line every 10 s elsewhere; on standard error, or nowhere if `quiet`."""

    def __init__(self, total: int, unit: str, title: str, quiet: bool = False) -> None:
        self.total, self.unit, self.title, self.quiet = total, unit, title, quiet
        self.done = self._printed = 0
        self.note = ""
        self._begin = self._last = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty() and not quiet:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, desc=title, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.done > self._printed:
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
        eta = f", about {(self.total - self.done) / rate:.0f} s left" if 0 < self.done < self.total else ""
        note = f", {self.note}" if self.note else ""
        print(
            f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s{eta}{note}",
            file=sys.stderr,
            flush=True,
        )
