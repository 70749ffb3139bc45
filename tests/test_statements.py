"""The table of statements: what each row says of a run, and that all who tell of a run say the same."""

from dataclasses import replace

import pytest

from tests.app import records
from tests.story.conftest import a_run
from tl_core.cli.train import tell
from tl_core.data.checks import Finding
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import Accuracy, Leak, Slice
from tl_core.documents.tasks import Corrupted, Effect, Robustness, RunSlices
from tl_core.markdown import escaped
from tl_core.models.registry import network
from tl_core.runs.finished import source_of
from tl_core.serving.card import model_card
from tl_core.statements import Source, statement, statements
from tl_core.story.html import story
from ui.evaluate_page import results
from ui.present_page.slides import slides


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Of nine test pictures, those at 0, 1 and 4 are named wrongly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_STORE", str(tmp_path_factory.mktemp("told")))
        return source_of(a_run())


def _plain(text: str) -> str:
    return text.replace("\u202f", " ")


def _sentences(source: Source, name: str) -> str:
    """What the row called `name` says of `source`; empty where it does not hold."""
    told = statement(source, name)
    return _plain(told.sentences) if told else ""


def _with(source: Source, **report: object) -> Source:
    return replace(source, report=source.report.model_copy(update=report))


def _finding(kind: str, message: str, *rows: int) -> Finding:
    return Finding(kind=kind, files=(), message=message, remedy=None, rows=rows, reasons=(), stops=False)


def _slices(kind: str, name: str, detail: str) -> RunSlices:
    one = Slice(
        kind=kind, name=name, detail=detail, images=12, errors=7, accuracy=5 / 12, interval=(0.2, 0.68), elsewhere=0.91, p_value=0.001,
    )  # fmt: skip
    return RunSlices(judged_by="test", images=90, accuracy=0.8, slices=(one,))


def _robustness(*hurt_most: str) -> Robustness:
    worst = Corrupted(strength="as strong as that", accuracy=0.5, interval=(0.3, 0.7), drop=0.4)
    effect = Effect(corruption="jpeg", strengths=(worst,), p_value=0.001, example=0, said=(0, 0))
    clean = Accuracy(images=90, accuracy=0.9, interval=(0.8, 0.95))
    return Robustness(images=90, of_images=90, clean=clean, effects=(effect,), hurt_most=hurt_most)


TEST = Accuracy(images=60, accuracy=0.75, interval=(0.63, 0.84))
LEAK = Leak(images=2, without=Accuracy(images=7, accuracy=6 / 7, interval=(0.49, 0.97)))
ALIKE = "near_copy", "2 pictures show the same thing, among them secret.jpg.", 3, 4


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("result", {}, "67 % right on 9 pictures it had never seen (35 to 88 %). These test pictures were held out at random, before training."),
        ("result", {"own_split": True}, "These test pictures were held out by whoever made the data set."),
        ("result", {"headline": "cross_validated", "cross_validated": TEST}, "75 % right on 60 pictures, cross-validated (63 to 84 %). Each was"),
        ("result", {"leak": LEAK}, "67 % right on 9 pictures, 2 of them like ones that it learned from (35 to 88 %)."),
        ("result", {"headline": None, "one_moment": ("cup", "*bowl*")}, "All of one moment: record cup and *bowl* again elsewhere."),
        ("result", {"headline": None, "one_moment": ("a", "b", "c", "d", "e", "f")}, "record a, b, c, d, e and 1 more again"),
        ("test", {}, None),
        ("test", {"headline": "cross_validated", "cross_validated": TEST}, "The test pictures alone: 67 % right on 9 pictures (35 to 88 %)."),
        ("test", {"headline": None, "one_moment": ("cup",)}, "They say little about other pictures."),
        ("leak", {}, None),
        ("leak", {"leak": LEAK}, "2 pictures of 9 show what it learned from as well, and may be named rightly for that. Without them: 86 % right on 7 pictures (49 to 97 %)."),
        ("leak", {"leak": Leak(images=9, without=None)}, "There are no others to judge by."),
        ("validation", {}, "67 % right on the 9 validation pictures, which chose the settings."),
        ("metrics", {}, "Macro F1 0.6"),
        ("confused", {}, "2 of 3 mistakes: “cup” called “plate”."),
        ("always", {}, "It knows these 3 and no others"),
        ("unknown", {}, None),
        ("unknown", {"headline": None, "one_moment": ("cup",)}, "Its accuracy is not known yet. All of one moment: record cup again elsewhere."),
        ("hardest", {}, "It is right least often on cup. Of 3 test pictures of this class, 1 was named rightly: 33 % (6 to 79 %). Of all test pictures it is 67 %."),
        ("sureness", {}, "It is surer than it is right. How sure it says it is and how often it is right differ by 29.3 percentage points on average"),
        ("sureness", {}, "It was 90 % sure or more in 3 of its 3 mistakes."),
        ("threshold", {}, None),
        ("few_judged", {}, "All classes were judged on few pictures. cup (3), plate (3) and bowl (3): fewer than 20"),
        ("few_pictures", {}, None),
        ("learned", {}, "Learned from. 42 training pictures; 9 validation pictures chose the settings"),
        ("backbone", {}, "Started from (backbone). efficientnet_lite0"),
        ("strategy", {}, "(partial_fine_tuning)"),
        ("parameters", {}, "3,843 of 3.4 million"),
        ("seconds", {}, "Took. 19 s on a processor (CPU)"),
        ("libraries", {}, "Libraries. torch 2.6.0"),
        ("weights", {}, "IMAGENET1K (licence: Apache-2.0)"),
    ],
)  # fmt: skip
def test_a_row_says_what_holds_by_the_report(
    source: Source, name: str, change: dict[str, object], said: str | None
) -> None:
    told = _sentences(_with(source, **change), name)
    assert said in told if said else not told


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("failing", {"slices": _slices("brightness", "dark pictures", "up to 87 of 255")}, "It fails more often on dark pictures (up to 87 of 255). 42 % right on 12 pictures (20 to 68 %), 91 % on the others"),
        ("failing", {"slices": _slices("folder", "pictures in the folder ward 7", "")}, "It fails more often on pictures in one folder."),
        ("failing", {"slices": _slices("folder", "pictures in the folder ward 7", ""), "names": True}, "on pictures in the folder ward 7."),
        ("corrupted", {"robustness": _robustness("jpeg")}, "(as strong as that: 50 % right, 30 to 70 %)."),
        ("corrupted", {"robustness": _robustness("jpeg")}, "Changed pictures are harder. 90 pictures were changed and asked about again; 90 % ("),
        ("corrupted", {"robustness": _robustness()}, "No change costs more than chance explains."),
        ("findings", {"findings": (_finding(*ALIKE),)}, "Some pictures are near-copies of each other. 2 pictures are in groups"),
        ("findings", {"findings": (_finding("suspect_label", "A label may be wrong: secret.jpg.", 5),)}, "1 picture is perhaps sorted into the wrong class"),
        ("findings", {"findings": (_finding("shortcut", "The file format alone tells."),)}, "There may be a shortcut. The file format alone tells."),
        ("findings", {"findings": (_finding("refused", "secret.jpg is refused."),)}, None),
        ("epochs", {}, "Passes over the pictures (epochs). "),
    ],
)  # fmt: skip
def test_a_row_says_what_else_is_known(source: Source, name: str, change: dict[str, object], said: str | None) -> None:
    told = _sentences(replace(source, **change), name)  # type: ignore[arg-type]
    assert said in told if said else not told
    assert "secret" not in told


def test_pictures_of_a_group_count_once_in_the_range_of_a_class(source: Source) -> None:
    assert source.manifest
    images = tuple(image.model_copy(update={"given_group": str(image.label)}) for image in source.manifest.images)
    grouped = replace(source, manifest=source.manifest.model_copy(update={"images": images}))
    assert "33 % (3 to 91 %)" in _sentences(grouped, "hardest")


def test_of_a_split_of_its_makers_own_the_few_pictures_are_those_to_learn_from(source: Source) -> None:
    assert source.manifest
    document = source.manifest.model_dump()
    for row, image in enumerate(document["images"]):
        image["split"] = "test" if row % 2 else "train"
    own = replace(source, manifest=Manifest.model_validate(document))
    assert "cup (10), plate (10) and bowl (10) to learn from." in _sentences(own, "few_pictures")


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("feature_extraction", "efficientnet_lite0, a network that had learned from ImageNet"),
        ("from_scratch", "with random weights"),
    ],
)
def test_what_training_started_from_is_told(source: Source, strategy: str, said: str) -> None:
    weights = network(source.spec.backbone).default_weights
    started = replace(source, spec=source.spec.model_copy(update={"strategy": strategy, "weights": weights}))
    assert said in _sentences(started, "backbone")


@pytest.mark.parametrize(("threshold", "said"), [(0.9, "below 90 % counts"), (0.875, "below 87.5 % counts")])
def test_a_threshold_is_told_as_it_was_set_with_what_it_gives(source: Source, threshold: float, said: str) -> None:
    assert source.info
    told = _sentences(replace(source, info=source.info.model_copy(update={"threshold": threshold})), "threshold")
    assert said in told
    assert told.endswith("Of 9 test pictures, 100 % got an answer, and 67 % of these are right.")


@pytest.mark.parametrize(
    ("mistakes", "said"),
    [
        ((), "No mistake on 9 test pictures"),
        ((0,), "Its one mistake: “cup” called “plate”"),
        ((0, 4), "2 mistakes, no two of them alike"),
        ((0, 1), "All 2 mistakes: “cup” called “plate”"),
    ],
)
def test_the_commonest_confusion_is_named(mistakes: tuple[int, ...], said: str) -> None:
    source = source_of(a_run(mistakes=mistakes))
    assert _sentences(source, "confused") == f"{said}."
    assert mistakes or not _sentences(source, "hardest"), "all classes are alike"


def test_all_who_tell_of_a_run_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run()
    source = source_of(run)
    assert source.info
    result, limits = statements(source, "result"), statements(source, "limit")
    html = story(source).html
    card = model_card(source, source.info)
    for one in (*result, *limits, *statements(source, "making")):
        assert escaped(one.title) in card, one.name
        assert escaped(one.text) in card, one.name
    for one in (*result[1:], *limits):
        assert one.title in html, one.name
        assert one.text in html, one.name
    shown = slides(results.load(run, records.workspace()))
    assert shown[0].title == result[0].title
    assert [limit["text"] for limit in shown[-1].limits] == [one.text for one in limits[: len(shown[-1].limits)]]
    tell(
        {
            "run_dir": str(run.path),
            "refused_files": 0,
            "seconds": {"total": 1.0},
            "device": "cpu",
            "gpu": None,
            "peak_memory_mb": 5.0,
        }
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[: len(result)] == [_plain(one.sentences) for one in result]
