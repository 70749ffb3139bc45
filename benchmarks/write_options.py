"""Writes what tables of the program say into the texts that repeat it: `make options`.

The options of a run become a table in docs/command-line.md and the arguments of `tl_core.train`; the operator's settings become a table in
docs/deploy.md.
"""

from pathlib import Path

from pydantic.fields import FieldInfo

from tl_core import settings
from tl_core.documents.options import OPTIONS, Option

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "command-line.md"
DEPLOY = ROOT / "docs" / "deploy.md"
SOURCE = ROOT / "tl_core" / "api.py"


def with_table(text: str) -> str:
    """The text of docs/command-line.md with the table of today between its two marks."""
    rows = "\n".join(_row(option) for option in OPTIONS.values())
    head = "| option | values | default | what it does | used with |\n| --- | --- | --- | --- | --- |"
    return _between(
        "<!-- options of a run: written by make options -->",
        f"\n\n{head}\n{rows}\n\n",
        "<!-- end of the options of a run -->",
        text,
    )


def with_settings(text: str) -> str:
    """The text of docs/deploy.md with the table of the operator's settings between its two marks."""
    rows = "\n".join(_setting_row(name, field) for name, field in settings.variables().items())
    head = f"| variable | meaning | {' | '.join(settings.PRESETS)} |\n| --- | --- |{' --- |' * len(settings.PRESETS)}"
    return _between(
        "<!-- settings: written by make options -->", f"\n\n{head}\n{rows}\n\n", "<!-- end of the settings -->", text
    )


def with_arguments(source: str) -> str:
    """The text of api.py with the arguments of today, and with those that are passed on, between their marks."""
    arguments = "".join(f"    {_argument(option)},\n" for option in OPTIONS.values())
    passed = "".join(f'        "{name}": {name},\n' for name in OPTIONS)
    source = _between(
        "    # options of a run: written by make options\n", arguments, "    # end of the options of a run\n", source
    )
    return _between(
        "        # the same options: written by make options\n", passed, "        # end of the same options\n", source
    )


def _between(begin: str, new: str, end: str, text: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + new + end + after


def _row(option: Option) -> str:
    default = option.unset if option.default is None else option.default
    name = option.name.replace("_", "-")
    return f"| `--{name}` | {option.takes} | {default} | {option.help} | {option.when} |"


def _setting_row(name: str, field: FieldInfo) -> str:
    shown = [field.title or "" if value == "" else str(value) for value in settings.defaults_of(field)]
    return f"| `{name}` | {field.description} | {' | '.join(shown)} |"


def _argument(option: Option) -> str:
    choices = ", ".join(f'"{choice}"' for choice in option.choices)
    kind = f"Literal[{choices}]" if choices else option.kind.__name__
    default = f'"{option.default}"' if isinstance(option.default, str) else repr(option.default)
    return f"{option.name}: {kind}{' | None' if option.default is None else ''} = {default}"


if __name__ == "__main__":
    COMMANDS.write_text(with_table(COMMANDS.read_text(encoding="utf-8")), encoding="utf-8")
    DEPLOY.write_text(with_settings(DEPLOY.read_text(encoding="utf-8")), encoding="utf-8")
    SOURCE.write_text(with_arguments(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
