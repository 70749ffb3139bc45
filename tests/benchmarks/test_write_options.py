"""docs/command-line.md, docs/deploy.md and the signature of `tl_core.train` have the options and settings that there are."""

from benchmarks.write_options import COMMANDS, DEPLOY, SOURCE, with_arguments, with_settings, with_table
from tl_core.documents.options import OPTIONS
from tl_core.runs.finished import RunSummary


def test_the_document_and_the_arguments_of_train_are_those_of_the_table() -> None:
    document, source = COMMANDS.read_text(encoding="utf-8"), SOURCE.read_text(encoding="utf-8")
    assert document == with_table(document), "run make options"
    assert source == with_arguments(source), "run make options"
    for name in OPTIONS:
        assert f"`--{name.replace('_', '-')}`" in document


def test_the_table_of_settings_is_that_of_the_program() -> None:
    text = DEPLOY.read_text(encoding="utf-8")
    assert text == with_settings(text), "run make options"


def test_the_document_explains_each_field_of_a_run_that_ended() -> None:
    document = COMMANDS.read_text(encoding="utf-8")
    assert not [name for name in RunSummary.model_fields if f"`{name}`" not in document]
