"""The arguments that several commands share, and the options of a run as parameters of a command, made from their table.

Names and numbers are taken as they come: everything that is wrong with them is said at once by those who check a run.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_core.data.sources import path_of
from tl_core.documents.options import OF_STRATEGY, OPTIONS, Option
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import NotFound, SpecError
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.serving.bundle_files import INFO

ADVANCED = "Advanced"
_LONGEST_TOKEN = 100
"""Bytes that are read of a file with a token; the token itself has 32."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A folder, a zip, or sample:NAME.")]
_CLASSES = typer.Option(
    "--classes",
    help="Which folder names the class: the first below the root, or the innermost.",
    metavar="WHICH",
    rich_help_panel=ADVANCED,
)
Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="FILE.csv",
        help="Pictures that belong together, such as those of one patient: a CSV with the columns file and group.",
    ),
]
Classes = Annotated[str, _CLASSES]
"""For commands that say everything that is wrong at once."""
CheckedClasses = Annotated[ClassesFrom, _CLASSES]
"""For commands that leave the check to the command line."""


Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a bundle folder or a bundle zip.")]
EndedRun = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that has ended well.")]


def opened(run: str | Path) -> RunFolder:
    """The folder of a run in any state, which `run` names.

    Raises:
        SpecError: it is a bundle.
        NotFound: there is no run.
    """
    folder = RunFolder(path_of(run).expanduser().absolute())
    if folder.exists:
        return folder
    if folder.path.suffix.lower() == ".zip" or (folder.path / INFO).is_file():
        raise SpecError(
            f"{run} is a bundle, which holds what predicts and nothing of how it was found. Name the folder of the run."
        )
    raise NotFound(f"There is no run at {run}. Name the folder of a run, such as that of train --out.")


def names(text: str | None, what: str) -> tuple[str, ...]:
    """The names in a list with commas, each once; `what` they are, as the option is called. Raises SpecError where it has none."""
    names = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    if text is not None and not names:
        raise SpecError(f"Name at least one of the {what}, or leave --{what} out.")
    return names


def with_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command `(data, *, ..., **asked)`: the options of a run called `names` take the place of `**asked`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        argument, *others, _ = signature.parameters.values()
        parameters = [argument, *(_parameter(OPTIONS[name]) for name in names), *others]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def token(text: str) -> str:
    """The token of a workspace that was typed, or that lies in the file whose path was typed after an @.

    Raises:
        NotFound: there is no such file.
        SpecError: it cannot be read, or holds something else; what it holds is not shown.
    """
    if not text.startswith("@"):
        return text
    file = Path(text[1:]).expanduser()
    try:
        with file.open("rb") as opened:
            held = opened.read(_LONGEST_TOKEN).decode("ascii", errors="replace").strip()
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}. Write the workspace's token into it, or type the token.") from None
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}. It is to hold the workspace's token.") from None
    try:
        return Store.default().workspace(held).token
    except NotFound:
        raise SpecError(
            f"{file} holds no workspace's token. It is to hold 32 digits and letters from a to f, and nothing else."
        ) from None


Workspace = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        metavar="TOKEN|@FILE",
        parser=token,
        help="The workspace of the app in which it is to be seen; @FILE reads the token from a file, since others on this "
        "machine can see what is typed.",
    ),
]


def _parameter(option: Option) -> inspect.Parameter:
    # Ranges and choices stay with the table: typer would name one problem at a time.
    shown = typer.Option(
        help=f"{option.help} Takes {option.takes}." if option.choices else option.help,
        metavar={bool: None, int: "N", float: "X", str: "NAME"}[option.kind],
        # Not shown for options whose default is the strategy's own: the help of the command says so once.
        show_default=option.unset != OF_STRATEGY and (option.unset or True),
        rich_help_panel=ADVANCED if option.folded else None,
    )
    kind: Any = option.kind | None if option.default is None else option.kind
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, shown]
    )
