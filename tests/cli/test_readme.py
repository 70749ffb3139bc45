"""The table of options in README says what the options are today."""

from __future__ import annotations

from tl_core.cli.readme import README, with_table
from tl_core.documents.options import OPTIONS


def test_readme_lists_every_option_as_it_is_today() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text), "run make readme"
    assert all(f"| `--{name.replace('_', '-')}` | {option.takes} |" in text for name, option in OPTIONS.items())
