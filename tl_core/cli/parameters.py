"""The arguments that several commands share, and the options of a run as parameters of a command, made from their table.

Names and numbers are taken as they come: everything that is wrong with them is said at once by those who check a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tl_core.documents.options import OF_STRATEGY, OPTIONS, Option
from tl_core.documents.spec import ClassesFrom

ADVANCED = "Advanced"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A folder, a zip, or sample:NAME.")]
_CLASSES = typer.Option(
    "--classes",
    help="Which folder names the class: the first below the root, or the innermost.",
    metavar="WHICH",
    rich_help_panel=ADVANCED,
)
Classes = Annotated[str, _CLASSES]
"""For commands that say everything that is wrong at once."""
CheckedClasses = Annotated[ClassesFrom, _CLASSES]
"""For commands that leave the check to the command line."""


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


def _parameter(option: Option) -> inspect.Parameter:
    # Ranges and choices stay with the table: typer would name one problem at a time.
    said = typer.Option(
        help=f"{option.help} Takes {option.takes}." if option.choices else option.help,
        metavar={bool: None, int: "N", float: "X", str: "NAME"}[option.kind],
        # Not shown for options whose default is the strategy's own: the help of the command says so once.
        show_default=option.unset != OF_STRATEGY and (option.unset or True),
        rich_help_panel=ADVANCED if option.folded else None,
    )
    kind: Any = option.kind | None if option.default is None else option.kind
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, said]
    )
