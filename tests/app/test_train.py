"""The Train page: three decisions on show, the rest folded; what fits, what is wrong, what is reset; the same in lines of Python."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, text
from tests.conftest import lend
from tl_core import locks
from tl_core.documents.arrays import ENTRY, Checkpoint
from tl_core.documents.events import State, UsedGpu
from tl_core.documents.gpu_card import Card
from tl_core.documents.options import OPTIONS
from tl_core.documents.tasks import RankedBackbone, Ranking, RankSpec
from tl_core.models.build import build
from tl_core.models.graphs.export import keep_structure
from tl_core.models.registry import keep, network, networks
from tl_core.runs.process import devices
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import conditions, setup_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train.plan import settled, with_estimate
from tl_core.training.strategies.advice import advise
from tl_core.training.strategies.strategies import learning_paths, strategies, strategy, tuned
from ui.train_page.advanced import TABS
from ui.train_page.form import load_lines, parameter_list, with_parameters
from ui.train_page.proposal import Case, Proposal
from ui.words import NARROW

TRAIN = "pages/2_Train.py"
WIDGETS = {"button", "selectbox", "number_input", "text_input", "toggle", "radio", "checkbox", "slider", "pills"}


@pytest.fixture
def app(open_page: Open) -> AppTest:
    return open_page(TRAIN, dataset=records.dataset().id)


def _shown(block: Any) -> list[Any]:
    """Widgets that can be seen before anything is unfolded."""
    found = []
    for child in getattr(block, "children", {}).values():
        if child.type in WIDGETS:
            found.append(child)
        elif child.type not in ("expander", "expandable"):
            found += _shown(child)
    return found


def test_a_newcomer_sees_three_decisions(app: AppTest) -> None:
    shown = _shown(app.main)
    chooses = [widget for widget in shown if widget.type == "selectbox"]
    assert [widget.label for widget in chooses] == ["Data set", "Backbone"]
    cards = [widget.key for widget in shown if str(widget.key).startswith("choose-")]
    assert cards == [
        "choose-feature_extraction",
        "choose-partial_fine_tuning",
        "choose-full_fine_tuning",
        "choose-auto",
    ]
    rest = [widget.label for widget in shown if widget not in chooses and widget.key not in cards]
    assert rest == ["Start", "Which backbone suits my data?"]
    assert len(app.selectbox(key="backbone").options) < 14


@pytest.mark.parametrize("name", list(strategies()))
def test_every_strategy_can_be_chosen_or_says_why_not(app: AppTest, name: str) -> None:
    button = app.button(key=f"choose-{name}")
    if button.disabled:
        assert f"({name}) needs a transformer" in text(app).replace("\\", "")
        return
    button.click().run()
    assert app.button(key=f"choose-{name}").label == "Chosen"
    assert [widget.label for widget in app.button if widget.label == "Chosen"] == ["Chosen"]
    assert not app.button(key="start").disabled
    assert not app.error
    assert f"**{strategies()[name].title}**, from the first layers" in text(app)


def test_every_layer_is_shown_as_text_once_a_run_has_trained_the_network(app: AppTest) -> None:
    title, row = "Every layer of it, as text", network("efficientnet_lite0")
    assert title not in [box.label for box in app.expander]
    keep_structure(build(row, weights=None, classes=3), row.default_weights, 224, Store.default().cache)
    app.session_state["layers"] = True
    app.run()
    assert title in [box.label for box in app.expander]
    assert any("EfficientNet  # images (3, 224, 224)" in code.value for code in app.code)


def test_low_rank_updates_fit_a_transformer_and_nothing_else(app: AppTest) -> None:
    assert app.button(key="choose-lora").disabled
    app.selectbox(key="any-backbone").select("vit_b_16").run()
    assert app.selectbox(key="backbone").value == "vit_b_16"
    assert not app.button(key="choose-lora").disabled


def test_only_what_applies_is_asked_and_everything_has_help(app: AppTest) -> None:
    assert all(option.help.endswith(".") for option in OPTIONS.values())
    tabbed = [name for names in TABS.values() for name in names]
    assert sorted([*tabbed, "backbone", "weights", "strategy"]) == sorted(OPTIONS)

    def keys() -> set[str]:
        return {str(widget.key)[4:] for widget in (*app.number_input, *app.text_input, *app.toggle, *app.selectbox)}

    assert {"solver", "class_weights"} <= keys()
    assert not keys() & {"epochs", "stages", "learning_rate", "mixup", "augmentation"}
    app.selectbox(key="set-solver").select("adam").run()
    assert {"epochs", "learning_rate", "mixup", "patience"} <= keys()
    assert not keys() & {"stage_rate", "cutmix", "augmentation"}
    app.button(key="choose-partial_fine_tuning").click().run()
    assert {"epochs", "stages", "learning_rate", "stage_rate", "mixup", "augmentation"} <= keys()
    assert not keys() & {"solver", "lora_rank", "momentum"}
    app.selectbox(key="set-optimizer").select("sgd").run()
    assert "momentum" in keys()


def test_every_device_that_works_can_be_chosen(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = records.dataset()
    app = open_page(TRAIN, dataset=dataset.id)
    assert not [widget for widget in app.selectbox if widget.key == "set-device"], "the processor alone is no choice"
    card = Card(uuid="GPU-1", capability=(9, 0), precisions=("float32", "bfloat16"))
    monkeypatch.setattr(devices, "working_cards", lambda: (card,))
    app = open_page(TRAIN, dataset=dataset.id)
    assert "on this GPU" in text(app)
    assert app.selectbox(key="set-device").options == ["auto", "cuda", "cpu"]
    app.selectbox(key="set-device").select("cpu").run()
    assert "on this processor (CPU)" in text(app)
    assert not app.error


def test_a_gpu_that_pytorch_cannot_use_is_said_where_the_device_is_shown(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.train_page.startline.unusable_gpu", lambda: "PyTorch cannot use the Tesla T4; update.")
    app = open_page(TRAIN, dataset=records.dataset().id)
    assert "PyTorch cannot use the Tesla T4; update." in text(app).replace("\\", "")


@pytest.mark.parametrize("names", [("NVIDIA L4", "NVIDIA T4"), ("NVIDIA L4", "NVIDIA L4")])
def test_on_mixed_gpus_the_page_says_of_which_it_speaks(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    cards = tuple(
        Card(uuid=f"GPU-{number}", name=name, capability=(8, 9), memory_mb=24_000.0, precisions=("float32",))
        for number, name in enumerate(names)
    )
    monkeypatch.setattr(devices, "working_cards", lambda: cards)
    said = text(open_page(TRAIN, dataset=records.dataset().id)).replace("\\", "")
    assert ("Time and memory are those on NVIDIA L4." in said) == (len(set(names)) == 2)


def test_all_that_is_wrong_is_said_at_once_before_start(app: AppTest) -> None:
    app.button(key="choose-lp_ft").click().run()
    app.text_input(key="set-learning_rate").set_value("fast")
    app.text_input(key="set-stage_rate").set_value("0")
    app.number_input(key="set-image_size").set_value(17).run()
    said = app.error[0].value.replace("\\", "")
    for part in ("learning rate is fast", "learning rate of the stages is 0", "image size of 17"):
        assert part in said
    assert app.button(key="start").disabled


def test_what_keeps_a_run_from_starting_is_said_at_the_button(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", "0.000001")
    app.button(key="start").click().run()
    shown = [element.type for element in app.main if element.type in ("error", "selectbox")]
    assert "This workspace takes" in app.error[0].value
    assert shown.index("error") < shown.index("selectbox")


def test_a_backbone_with_fewer_stages_forgets_how_many_were_to_learn(app: AppTest) -> None:
    app.button(key="choose-partial_fine_tuning").click().run()
    app.number_input(key="set-stages").set_value(8).run()
    app.selectbox(key="backbone").set_value("resnet18").run()
    assert not app.error
    assert app.number_input(key="set-stages").value is None
    assert not app.button(key="start").disabled


def test_another_strategy_brings_its_own_settings(app: AppTest) -> None:
    app.button(key="choose-lp_ft").click().run()
    app.number_input(key="set-epochs").set_value(40)
    app.number_input(key="set-seed").set_value(3).run()
    app.button(key="choose-full_fine_tuning").click().run()
    assert app.number_input(key="set-epochs").value is None
    assert app.number_input(key="set-seed").value == 3


@pytest.mark.parametrize("name", ["feature_extraction", "partial_fine_tuning"])
def test_the_time_on_the_page_is_that_of_the_run_which_it_starts(name: str) -> None:
    data, lite = records.dataset(), network("efficientnet_lite0")
    chosen = tuned(strategies()[name], lite)
    case = Case(lite, lite.default_weights, chosen, conditions(chosen, lite, solver="logistic", optimizer="adamw"))
    proposal = Proposal.of(data, case, name, {"batch_size": 8, "seed": 3}, advise(42, None, lite))
    shown, run = proposal.estimate(), with_estimate(settled(setup_of(proposal.options, data), data), data)
    assert run.spec.estimated_seconds == (round(shown.low, 1), round(shown.high, 1))


@pytest.mark.parametrize(("free_mb", "warned"), [(2000.0, []), (300.0, [True])])
def test_what_a_run_needs_is_said_and_warned_of_where_it_does_not_fit(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder, free_mb: float, warned: list[bool]
) -> None:
    monkeypatch.setattr("ui.train_page.startline.room_mb", lambda device: free_mb)
    app = open_page(TRAIN, dataset=data.id)
    assert " GB of memory; " in text(app)
    assert ["and 0.3 GB are free here" in warning.value.replace("\\", "") for warning in app.warning] == warned
    assert not app.button(key="start").disabled


def test_auto_names_both_ways_until_it_was_measured(open_page: Open, data: DatasetFolder) -> None:
    app = open_page(TRAIN, dataset=data.id)
    assert "it takes “Head only”" in text(app).replace("\\", "")
    app.button(key="choose-auto").click().run()
    assert app.button(key="choose-auto").label == "Chosen"
    spec = RankSpec(workspace=records.TOKEN, dataset=data.id, backbones=("efficientnet_lite0",), device="cpu")
    row = RankedBackbone(
        backbone="efficientnet_lite0", weights="ImageNet", accuracy=0.81, interval=(0.7, 0.9), logme=0.4,
        similar=False, seconds=3.0,
    )  # fmt: skip
    records.asked(spec, Ranking(images=42, classes=3, rows=(row,)))
    app = open_page(TRAIN, dataset=data.id)
    assert "Would take “Last stages”" in text(app).replace("\\", "")
    assert "**efficientnet\\_lite0** 81" in text(app)


def test_another_network_is_looked_up_by_its_name(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("ui.asking.ask", lambda workspace, spec: asked.append(spec))
    app.text_input(key="typed-backbone").set_value("../resnet")
    app.button(key="describe").click().run()
    assert "cannot be the name of a network" in app.error[0].value
    app.text_input(key="typed-backbone").set_value("resnet26t.ra2_in1k")
    app.button(key="describe").click().run()
    assert not app.error
    assert [spec.network for spec in asked] == ["resnet26t.ra2_in1k"]
    app.text_input(key="typed-backbone").set_value("resnet18")
    app.button(key="describe").click().run()
    assert app.selectbox(key="backbone").value == "resnet18"
    assert len(asked) == 1


def test_licences_that_forbid_trade_are_seen(app: AppTest) -> None:
    assert "not for commercial use" not in text(app)
    app.selectbox(key="any-backbone").select("regnet_y_128gf").run()
    assert "not for commercial use" in text(app)
    labels = app.selectbox(key="weights-regnet_y_128gf").options
    assert len(labels) > 1
    assert all("licence" in label for label in labels)


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (None, f"19{NARROW}s (said: 10 to 25 seconds)"),
        (UsedGpu(name="NVIDIA L4", uuid="GPU-1"), f"19{NARROW}s on NVIDIA L4 (said: 10 to 25 seconds)"),
        (UsedGpu(name="NVIDIA L4", uuid="GPU-1", one_of_several=True), f"19{NARROW}s on NVIDIA L4 (GPU-1) (said"),
    ],
)
def test_a_run_says_what_auto_took_and_on_which_gpu_it_took_how_long(
    open_page: Open, gpu: UsedGpu | None, said: str, run: RunFolder
) -> None:
    chosen = {"chosen_by": "auto", "reason": "With 42 training images, few.", "estimated_seconds": (12.0, 24.0)}
    run.write_spec(run.spec().model_copy(update=chosen))
    run.status().model_copy(update={"gpu": gpu}).write(run.path / "status.json")
    page = text(open_page(TRAIN, run=run.id)).replace("\\", "")
    assert said in page
    assert "With 42 training images, few." in page


def test_a_run_that_waits_says_what_it_is_expected_to_be(open_page: Open) -> None:
    run = records.run(records.dataset(), state="queued", strategy="default")
    run.write_spec(run.spec().model_copy(update={"weights": network(run.spec().backbone).default_weights}))
    with locks.holding(run.lock):
        said = text(open_page(TRAIN, run=run.id))
        run.finish_file.touch()
        finishing = text(open_page(TRAIN, run=run.id))
    assert f"Expected: “{strategies()['feature_extraction'].title}” on this processor (CPU), " in said
    assert "Expected:" not in finishing, "to finish a run takes no whole training"


def _stopped(state: State, *, checkpoint: bool = True) -> RunFolder:
    """A run of five epochs that ended before its end, after the second one."""
    run = records.run(records.dataset(), state=state, strategy="full_fine_tuning")
    found = Checkpoint(
        epoch=2,
        epochs=5,
        best_epoch=1,
        best_loss=0.6,
        best_accuracy=0.7,
        ages=(1,),
        averaged=0,
        scaler={},
        micro_batch=1,
        precision="float32",
        device="cpu",
        torch="2.0.0",
    )
    run.best.write_text("the best so far")
    if checkpoint:
        save_file({"a": np.zeros(1)}, run.checkpoint_file, metadata={ENTRY: found.model_dump_json()})
    return run


@pytest.mark.parametrize("state", ["interrupted", "cancelled", "failed"])
def test_a_run_that_was_stopped_can_go_on_be_finished_or_start_again(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    run = _stopped(state)
    go_on = Mock(return_value=run)
    monkeypatch.setattr(jobs, "go_on", go_on)
    buttons = open_page(TRAIN, run=run.id).button
    assert [button.label for button in buttons][:3] == [
        "Go on from epoch 2 of 5",
        "Finish with the best so far",
        "Start again",
    ]
    for key, start in (("go-on", "checkpoint"), ("start-again", "nothing"), ("finish-best", "best")):
        open_page(TRAIN, run=run.id).button(key=key).click().run()
        go_on.assert_called_with(run, start, workspace=records.workspace())


def test_without_a_checkpoint_the_best_state_is_offered_and_a_damaged_one_is_said(open_page: Open) -> None:
    run = _stopped("interrupted", checkpoint=False)
    keys = [button.key for button in open_page(TRAIN, run=run.id).button]
    assert "go-on" not in keys
    assert {"finish-best", "start-again"} <= set(keys)
    run.checkpoint_file.write_bytes(b"noise")
    app = open_page(TRAIN, run=run.id)
    assert "cannot be used, so it cannot go on" in text(app).replace("\\", "")
    assert "go-on" not in [button.key for button in app.button]


def test_a_run_whose_pictures_are_gone_says_so_when_it_is_to_go_on(open_page: Open) -> None:
    run = _stopped("interrupted")
    (data,) = records.workspace().datasets()
    app = open_page(TRAIN, run=run.id)
    data.delete()
    app.button(key="go-on").click().run()
    assert "The pictures of this run were deleted" in text(app)
    assert run.can_resume()


def test_a_run_that_trained_stages_can_be_trained_on_and_a_fitted_head_says_why_not(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder
) -> None:
    run = records.run(data, strategy="full_fine_tuning")
    train_on = Mock(return_value=run)
    monkeypatch.setattr(jobs, "train_on", train_on)
    for page, epochs in ((TRAIN, 3), ("pages/3_Evaluate.py", 4)):
        app = open_page(page, run=run.id)
        app.number_input(key=f"more-{run.id}").set_value(epochs).run()
        app.button(key=f"train-on-{run.id}").click().run()
        train_on.assert_called_with(run, epochs=epochs, workspace=records.workspace())
    head = records.run(data)
    assert f"train-on-{head.id}" not in [button.key for button in open_page(TRAIN, run=head.id).button]
    run.write_spec(run.spec().model_copy(update={"continues": "a", "epochs": 3}))
    assert "3 more epochs" in text(open_page(TRAIN, run=run.id))


def test_a_network_that_another_workspace_added_by_name_is_not_offered(open_page: Open, data: DatasetFolder) -> None:
    like = network("resnet18")
    keep(like.model_copy(update={"name": "typed_elsewhere", "own_layout": like.layout}))
    Store.default().workspace("f" * 32).make()
    Store.default().workspace("f" * 32).add_backbone("typed_elsewhere")
    app = open_page(TRAIN, dataset=data.id)
    assert not [option for option in app.selectbox(key="any-backbone").options if "typed_elsewhere" in option]
    records.workspace().add_backbone("typed_elsewhere")
    app = open_page(TRAIN, dataset=data.id)
    assert [option for option in app.selectbox(key="any-backbone").options if "typed_elsewhere" in option]


@pytest.mark.parametrize(
    ("name", "weights", "lines"),
    [
        (
            "resnet50",
            "IMAGENET1K_V2",
            "from torchvision.models import ResNet50_Weights, resnet50\n\n"
            "network = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2)",
        ),
        (
            "vit_base_patch16_clip_224",
            "laion2b",
            'import timm\n\nnetwork = timm.create_model("vit_base_patch16_clip_224.laion2b", pretrained=True)',
        ),
        ("efficientnet_lite0", "IMAGENET1K", None),
    ],
)
def test_the_lines_that_load_the_weights_are_the_librarys(name: str, weights: str, lines: str | None) -> None:
    assert load_lines(network(name), weights) == lines


def test_torchvision_knows_what_the_lines_name() -> None:
    models = pytest.importorskip("torchvision").models
    for known in networks().values():
        if known.source == "torchvision":
            assert known.weights_class
            sets = getattr(models, known.weights_class)
            assert models.get_model_weights(known.builder) is sets
            assert all(row.name in sets.__members__ for row in known.weights)
        else:
            assert known.weights_class is None


def test_modules_without_parameters_are_left_out_where_the_parameters_are_known() -> None:
    resnet = network("resnet50")
    paths = learning_paths(resnet, strategy("partial_fine_tuning"), 1)
    assert "avgpool" in paths
    assert with_parameters(paths, {"layer4.0.conv1.weight": (), "fc.weight": ()}) == ["layer4", "fc"]


def test_parameters_are_listed_in_columns() -> None:
    assert parameter_list({"fc.weight": (5, 2048), "fc.bias": (5,)}) == "fc.weight  5 x 2048\nfc.bias    5"


def test_each_parameter_that_learns_is_listed_once_the_backbone_was_exported(
    open_page: Open, exported: Callable[[int], Path], store: Path, data: DatasetFolder
) -> None:
    before = open_page(TRAIN, dataset=data.id)
    assert "once the backbone was exported" in text(before)
    assert "that may learn, by name" not in text(before)
    lend(exported(224), store / "cache")
    after = open_page(TRAIN, dataset=data.id)
    assert "The 2 tensors that may learn, by name" in text(after)
    assert "The solver fits only the parameters of these modules: `classifier`." in text(after)
    after.button(key="choose-partial_fine_tuning").click().run()
    said = text(after)
    assert "once the backbone was exported" not in said
    assert (
        "The optimizer gets only the parameters of these modules: `blocks.5`, `blocks.6`, `conv_head`, `bn2`, `classifier`."
        in said
    )
