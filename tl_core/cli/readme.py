"""Writes the table of the options of a run into README.md, between its two marks: `make readme`."""

from __future__ import annotations

from pathlib import Path

from tl_core.documents.options import OPTIONS, Option

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- options of a run: written by make readme -->"
END = "<!-- end of the options of a run -->"


def with_table(text: str) -> str:
    """`text` with the table of today between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = "\n".join(_row(option) for option in OPTIONS.values())
    head = "| option | values | default | what it does | used with |\n| --- | --- | --- | --- | --- |"
    return f"{before}{BEGIN}\n\n{head}\n{rows}\n\n{END}{after}"


def _row(option: Option) -> str:
    default = option.unset if option.default is None else option.default
    name = option.name.replace("_", "-")
    return f"| `--{name}` | {option.takes} | {default} | {option.help} | {option.when} |"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
