"""The table of options: a row says everything of an option, and a value is taken or refused by its row."""

from typing import Annotated, Any, get_args

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from tl_core.documents.options import OPTIONS, Condition, Option, Recipe, TrainingOptions
from tl_core.errors import SpecError, UnknownName


def test_every_row_can_be_shown_anywhere() -> None:
    for option in OPTIONS.values():
        assert option.title[0].isupper(), option.name
        assert option.help.endswith("."), option.name
        assert option.takes, option.name
        assert option.when in get_args(Condition)
        assert (option.default is None) == (option.unset is not None), option.name
        assert set(option.words or {}) <= set(option.choices or (True, False)), option.name


def test_a_number_without_both_ends_of_its_range_is_refused_when_it_is_written() -> None:
    row = Option(title="Warmth", help="How warm.")
    with pytest.raises(ValueError, match="warmth needs a smallest and a largest value"):
        row.of("warmth", FieldInfo.from_annotation(Annotated[float, Field(ge=0)]))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", 0, "The number of epochs is 0; it takes a whole number from 1 to 1000."),
        ("epochs", True, "number of epochs is True"),
        ("batch_size", 32.5, "batch size is 32.5; it takes a whole number from 1 to 4096"),
        ("seed", None, "seed is None"),
        ("learning_rate", 0, "learning rate is 0; it takes a number above 0, at most 10, such as 3e-4."),
        ("momentum", 1, "momentum is 1; it takes a number from 0 to below 1"),
        ("mixup", float("nan"), "mixup is nan; it takes a number from 0 to 10"),
        ("class_weights", "rare", "class weights is rare; it takes true or false"),
        ("backbone", 5, "backbone is 5; it takes a name"),
    ],
)
def test_a_value_that_is_out_of_range_is_told_the_range(name: str, value: Any, said: str) -> None:
    options, (wrong,) = TrainingOptions.read({name: value})
    assert said in wrong.message
    assert options == TrainingOptions()


@pytest.mark.parametrize(
    ("name", "value", "valid"), [("solver", "oracle", "logistic, adam"), ("augmentation", ["light"], "none, ")]
)
def test_a_value_that_is_no_choice_is_told_the_choices(name: str, value: Any, valid: str) -> None:
    _, (wrong,) = TrainingOptions.read({name: value})
    assert isinstance(wrong, UnknownName)
    assert valid in wrong.message


def test_what_can_be_used_is_read_beside_what_is_wrong() -> None:
    asked = {"epochs": 3, "mixup": "0.2", "learning_rate": 0.1, "views": None, "ema": 2, "warmth": 1}
    options, wrong = TrainingOptions.read(asked)
    assert (options.epochs, options.recipe) == (3, {"mixup": 0.2, "learning_rate": 0.1})
    assert options.changes == {"mixup": 0.2, "learning_rate": 0.1, "epochs": 3}
    assert ["(EMA) is 2" in wrong[0].message, "'warmth'" in wrong[1].message, len(wrong)] == [True, True, 2]


def test_a_recipe_is_changed_by_its_own_options_alone() -> None:
    assert Recipe().changed({"ema": 0.9, "mixup": None}) == Recipe(ema=0.9)
    with pytest.raises(SpecError, match=r"'epochs'.*mixup is -1"):
        Recipe().changed({"epochs": 3, "mixup": -1})


def test_a_number_as_text_is_taken_only_where_the_page_types_it() -> None:
    assert OPTIONS["learning_rate"].read("3e-4") == 3e-4
    for name, value in (("epochs", "5"), ("class_weights", "true"), ("seed", True)):
        with pytest.raises(SpecError, match=str(value)):
            OPTIONS[name].read(value)
