"""README, docs/deploy.md and the signature of `tl_core.train` have the options and settings that there are."""

from __future__ import annotations

from tl_core.cli.write_options import DEPLOY, README, SOURCE, with_arguments, with_settings, with_table
from tl_core.documents.options import OPTIONS


def test_readme_and_the_arguments_of_train_are_those_of_the_table() -> None:
    readme, source = README.read_text(encoding="utf-8"), SOURCE.read_text(encoding="utf-8")
    assert readme == with_table(readme), "run make options"
    assert source == with_arguments(source), "run make options"
    for name in OPTIONS:
        assert f"`--{name.replace('_', '-')}`" in readme


def test_both_tables_of_settings_are_those_of_the_program() -> None:
    for file in (README, DEPLOY):
        assert file.read_text(encoding="utf-8") == with_settings(file.read_text(encoding="utf-8")), "run make options"
