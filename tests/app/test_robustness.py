"""When a classifier breaks, on the Evaluate page: what is asked, what is said of the answer, and which training helps."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tl_core.documents.options import Recipe
from tl_core.documents.report import Accuracy
from tl_core.documents.tasks import Corrupted, Effect, Robustness, RobustnessSpec
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.tasks.subject import task_about

EVALUATE = "pages/3_Evaluate.py"


def _trained(**spec: object) -> RunFolder:
    """A run whose spec has these fields."""
    run = records.run(records.dataset())
    run.write_spec(run.spec().model_copy(update=spec))
    return run


def _answered(
    run: RunFolder,
    drops: Mapping[str, Sequence[float]],
    hurt_most: tuple[str, ...],
    *,
    of_images: int = 60,
    by_chance: tuple[str, ...] = (),
) -> None:
    """`drops` at the three strengths by corruption; those of `by_chance` and of those that are not named are explained by chance."""
    spec = task_about(run, RobustnessSpec, corruptions=STRENGTHS)
    row = run.report().answers[3].row
    label = run.report().answers[3].truth
    effects = tuple(
        Effect(
            corruption=name,
            strengths=tuple(
                Corrupted(
                    strength=corruption.said(at),
                    accuracy=0.9 - drop,
                    interval=(0.8 - drop, min(1.0, 0.95 - drop)),
                    drop=drop,
                )
                for at, drop in enumerate(drops.get(name, (0.0, 0.0, 0.0)))
            ),
            p_value=0.001 if name in drops and name not in by_chance else 1.0,
            example=row,
            said=(label, label, label, (label + 1) % 3 if name in drops else label),
        )
        for name, corruption in CORRUPTIONS.items()
    )
    found = Robustness(
        images=60,
        of_images=of_images,
        clean=Accuracy(images=60, accuracy=0.9, interval=(0.8, 0.95)),
        effects=effects,
        hurt_most=hurt_most,
    )
    records.asked(spec, found)


def _labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def test_it_is_asked_by_a_button_that_starts_one_job(
    open_page: Open, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RobustnessSpec] = []
    monkeypatch.setattr("ui.asking.ask", lambda _, spec: asked.append(spec))
    app = open_page(EVALUATE, run=run.id)
    assert "blur, noise, JPEG compression" in text(app)
    press(app, "Try changed pictures")
    assert asked == [task_about(run, RobustnessSpec, corruptions=STRENGTHS)]


def test_an_answer_at_other_strengths_is_not_shown_under_those_of_today(
    open_page: Open, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(STRENGTHS, "rotation", (1.0, 2.0, 3.0))
        _answered(run, {"blur": (0.0, 0.1, 0.3)}, ("blur",))
        assert "Try changed pictures" not in _labels(open_page(EVALUATE, run=run.id))
    app = open_page(EVALUATE, run=run.id)
    assert "Try changed pictures" in _labels(app)
    assert "costs the most" not in text(app)


def test_the_answer_names_what_hurts_most_and_shows_a_picture_of_it(open_page: Open, run: RunFolder) -> None:
    _answered(run, {"blur": (0.0, 0.1, 0.3), "jpeg": (0.0, 0.0, 0.2)}, ("blur",), of_images=900)
    app = open_page(EVALUATE, run=run.id)
    said = text(app)
    assert "What costs the most: blur (blurred over 2 % of the side: 60\u202f% right, 50 to 65\u202f%)." in said
    assert "60 pictures of 900, of every class its share," in said
    charts = [chart.proto.spec for chart in app.get("plotly_chart")]
    for title in ("Blur costs 30 points", "JPEG compression costs 20 points", "Noise: within chance"):
        assert sum(title in chart for chart in charts) == 1
    (box,) = [box for box in app.selectbox if box.label.startswith("One picture")]
    assert box.value == "blur"
    assert "the first that blur turns from right to wrong" in said
    box.select("grey").run()
    assert "loss of colour turns no right answer wrong" in text(app)


def test_what_cannot_be_told_apart_is_named_together_and_nothing_where_chance_explains_all(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    _answered(run, {"blur": (0.0, 0.1, 0.3), "noise": (0.0, 0.1, 0.28)}, ("blur", "noise"))
    said = text(open_page(EVALUATE, run=run.id))
    assert "These pictures cannot tell which of them costs more." in said
    assert "No level of augmentation has blur or noise in it" in said
    other = records.run(data)
    _answered(other, {"blur": (0.0, 0.0, 0.05)}, (), by_chance=("blur",))
    app = open_page(EVALUATE, run=other.id)
    assert "No change costs more than chance explains." in text(app)
    assert not [label for label in _labels(app) if "strong augmentation" in label]
    assert "augmentation" not in text(app).lower()


def test_training_again_takes_the_run_with_strong_augmentation(open_page: Open) -> None:
    run = _trained(strategy="full_fine_tuning", seed=7, image_size=192, changes={"epochs": 3, "stage_rate": 2e-4})
    _answered(run, {"rotation": (0.0, 0.1, 0.3)}, ("rotation",))
    app = open_page(EVALUATE, run=run.id)
    app.session_state["set-mixup"] = 0.2
    press(app, "Train again with strong augmentation")
    state = app.session_state
    assert (state["strategy"], state["backbone"]) == ("full_fine_tuning", "efficientnet_lite0")
    chosen = {key: state[f"set-{key}"] for key in ("augmentation", "seed", "image_size", "epochs", "stage_rate")}
    assert chosen == {"augmentation": "strong", "seed": 7, "image_size": 192, "epochs": 3, "stage_rate": "0.0002"}
    assert state["set-mixup"] is None, "what was set for another run is forgotten"
    assert app.query_params["dataset"] == run.spec().dataset
    assert any(button.label == "Start" for button in app.button)


def test_a_run_that_only_fitted_the_last_layer_is_told_which_strategy_has_augmentation(open_page: Open) -> None:
    run = _trained(changes={"c": 1.0})
    _answered(run, {"crop": (0.0, 0.1, 0.3), "blur": (0.1, 0.2, 0.4), "jpeg": (0.0, 0.1, 0.2)}, ("blur",))
    app = open_page(EVALUATE, run=run.id)
    assert "This run has only fitted the last layer on pictures as they are, so it has none." in text(app)
    assert "Augmentation trains against cropping:" in text(app)
    assert "No level of augmentation has blur or JPEG compression in it" in text(app)
    (button,) = [button for button in app.button if button.label.endswith("with strong augmentation")]
    button.click().run()
    assert app.session_state["strategy"] == "partial_fine_tuning"
    assert app.session_state["set-augmentation"] == "strong"


def test_a_run_with_strong_augmentation_is_not_offered_it_again(open_page: Open) -> None:
    run = _trained(strategy="full_fine_tuning", recipe=Recipe(augmentation="strong"))
    _answered(run, {"rotation": (0.0, 0.1, 0.3)}, ("rotation",))
    app = open_page(EVALUATE, run=run.id)
    assert "This run had the strongest augmentation against rotation already." in text(app)
    assert not [label for label in _labels(app) if "strong augmentation" in label]


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        (lambda data, run: data.delete(), "The data set was deleted"),
        (lambda data, run: (run.bundle / "bundle.json").unlink(), "has no result"),
        (
            lambda data, run: data.image(data.manifest().images[run.report().answers[3].row]).unlink(),
            "is missing or damaged",
        ),
    ],
    ids=["data", "bundle", "picture"],
)
def test_what_is_gone_is_said_in_words(
    open_page: Open, data: DatasetFolder, run: RunFolder, remove: Callable[[DatasetFolder, RunFolder], None], said: str
) -> None:
    _answered(run, {"blur": (0.0, 0.1, 0.3)}, ("blur",))
    remove(data, run)
    assert said in text(open_page(EVALUATE, run=run.id))
