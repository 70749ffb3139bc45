"""The command line, `python -m tl_core`: the same calls as the pages make.

It turns results into text or JSON, and errors into exit codes.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from tl_core.cli import asked, bundles, check, lists, printing, service
from tl_core.cli import train as training
from tl_core.errors import Cancelled, GraftError

app = typer.Typer(
    name="tl_core",
    help="Teach a computer to tell your pictures apart, and know how far to trust it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    lists.samples,
    lists.backbones,
    lists.strategies,
    check.check,
    training.train,
    training.race,
    training.resume,
    training.train_on,
    asked.find_rate,
    lists.describe,
    asked.rank,
    bundles.evaluate,
    asked.robustness,
    bundles.predict,
    bundles.explain,
    bundles.threshold,
    bundles.compare,
    asked.slices,
    bundles.export,
    bundles.story,
    service.app,
    service.demo,
    service.prepare,
    service.rehearse,
    service.store,
):
    app.command()(command)
app.add_typer(lists.weights_app)

# typer's own copies of click's classes differ between its versions; these two names do not.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
_MENDABLE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
    }
)
"""What the system says of a folder or file that the user chose, and no code of ours can help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 the user's error, 130 cancelled, 1 a bug or a dead worker."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold bytes that are no text; it is shown escaped instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    json_wanted = "--json" in words
    try:
        code = app(words, standalone_mode=False, prog_name="python -m tl_core")
        sys.stdout.flush()
    except GraftError as error:
        return _fail(error.kind, error.message, error.exit_code, json_wanted)
    except _ClickError as error:
        return _usage(error, json_wanted)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(Cancelled.kind, "Cancelled.", Cancelled.exit_code, json_wanted)
    except BrokenPipeError:
        # Whoever read the output has gone.
        _drop_output()
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: anything else is a bug, and says so
        if isinstance(error, OSError) and error.errno in _MENDABLE:
            where = f"{error.filename}: " if error.filename else ""
            return _fail("file_system", f"{where}{error.strerror}. Choose another place, or mend that.", 2, json_wanted)
        traceback.print_exc()
        return _fail("bug", f"This is a bug in Graft: {type(error).__name__}: {error}", 1, json_wanted)
    if code == Cancelled.exit_code:
        return _fail(Cancelled.kind, "Cancelled.", Cancelled.exit_code, json_wanted)
    return code if isinstance(code, int) else 0


def _fail(kind: str, message: str, exit_code: int, json_wanted: bool) -> int:
    if json_wanted:
        try:
            printing.as_json({"error": {"kind": kind, "message": message}})
        except OSError:
            # Perhaps the very reason for the message: a full disk behind `> file`.
            _drop_output()
    printing.aside(message)
    return exit_code


def _open_streams() -> None:
    """Stand-ins for streams that whoever started us had closed: files of ours must not take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(nothing, "w" if number else "r", closefd=False))


def _drop_output() -> None:
    """Send what is left for stdout nowhere, so that Python's own flush at exit does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Exception, json_wanted: bool) -> int:
    """A command line that cannot be understood; with no arguments at all, the help instead."""
    message = str(getattr(error, "format_message", lambda: str(error))())
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
        return 2
    context = getattr(error, "ctx", None)
    hint = f" See: {context.command_path} --help." if context is not None else ""
    return _fail("usage", message.rstrip(".") + "." + hint, 2, json_wanted)
