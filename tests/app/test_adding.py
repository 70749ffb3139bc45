"""More pictures for a data set, from the page: photos of a class that it has, or of a new one."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tests.conftest import picture
from tests.runs.executors import KEEPING
from tl_core.data.sources import component
from tl_core.runs.process.executor import cancel
from tl_core.runs.store.folders import DatasetFolder

PAGE = "pages/1_Data.py"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> DatasetFolder:
    """Sixty pieces of crockery; jobs wait elsewhere for ever."""
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    return records.dataset(classes=("a/b cup", "plate", "bowl"))


def _photos(label: int, count: int) -> list[tuple[str, bytes, str]]:
    photos = []
    for index in range(count):
        content = io.BytesIO()
        picture(label, 100 + index).save(content, "JPEG")
        photos.append((f"IMG_{index}.JPG", content.getvalue(), "image/jpeg"))
    return photos


def _add(app: AppTest, data: DatasetFolder, name: str, count: int) -> None:
    for step in ("choose", "upload"):
        # AppTest sends only options that the box has, a browser also what was typed.
        box = app.selectbox(key=f"adding-class-{data.id}")
        if name not in box.options:
            box.options.append(name)
        if step == "choose":
            box.select(name).run()
    app.file_uploader[0].set_value(_photos(0, count)).run()


def test_a_csv_of_groups_that_was_chosen_before_the_pictures_is_read_with_them(
    open_page: Open, in_memory: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    app = open_page(PAGE)
    app.file_uploader(key="groups-0").set_value(("patients.csv", b"file,group\n", "text/csv")).run()
    app.file_uploader(key="zip-0").set_value(("pictures.zip", b"x", "application/zip")).run()
    (made,) = records.workspace().datasets()
    groups = Path(made.spec().groups_file or "")
    assert (groups.name, groups.read_bytes()) == ("patients.csv", b"file,group\n")
    assert Path(made.spec().source).parent in groups.parents
    assert in_memory() == []


def test_groups_that_were_given_are_counted_on_the_page(open_page: Open, data: DatasetFolder) -> None:
    manifest = data.manifest()
    images = [
        image.model_copy(update={"given_group": "abc"[row // 2]} if row < 6 else {})
        for row, image in enumerate(manifest.images)
    ]
    manifest.model_copy(update={"images": tuple(images)}).write(data.path / "manifest.json")
    assert "6 pictures in 3 groups that you gave" in text(open_page(PAGE, dataset=data.id))


def test_photos_of_a_class_that_is_there_and_of_a_new_one_are_added_to_the_data_set(
    open_page: Open, data: DatasetFolder
) -> None:
    app = open_page(PAGE, dataset=data.id)
    press(app, "Add to these")
    assert "its 60 pictures and those that you add" in text(app)
    assert not app.file_uploader, "first the class"
    _add(app, data, "a/b cup", 2)
    _add(app, data, "saucer", 1)
    assert "2 photos" in text(app)
    assert "1 photo, a new class" in text(app)
    app = open_page(PAGE, dataset=data.id)
    assert "1 photo, a new class" in text(app), "they wait through a reload"
    # A day later, when the next sweep is due.
    store = records.workspace().path.parents[1]
    for folder in (store / "swept", records.workspace().path / "staging" / data.id):
        os.utime(folder, (0, 0))
    app.button(key="add").click().run()
    assert records.workspace().datasets() == [data]
    spec = data.spec()
    assert (spec.onto, spec.name) == (1, "Crockery")
    folders = {folder.name: len(list(folder.iterdir())) for folder in Path(spec.source).iterdir()}
    assert folders == {component("a/b cup"): 2, "saucer": 1}
    app = open_page(PAGE, dataset=data.id)
    assert "60 pictures in 3 classes" in text(app), "what was here before is here while more is read"
    assert "Cancel" in [button.label for button in app.button]
    cancel(data)


@pytest.mark.parametrize(
    ("name", "said"), [("/a" * 5_000, "at most 200 characters"), ("...", "needs a name")], ids=["long", "dots"]
)
def test_a_name_that_can_be_no_class_is_refused_and_forgotten(
    open_page: Open, data: DatasetFolder, name: str, said: str
) -> None:
    app = open_page(PAGE, dataset=data.id)
    press(app, "Add to these")
    box = app.selectbox(key=f"adding-class-{data.id}")
    box.options.append(name)
    box.select(name).run()
    assert said in app.error[0].value
    assert app.selectbox(key=f"adding-class-{data.id}").value is None
    assert not app.file_uploader


def test_what_was_added_is_counted_and_shown(open_page: Open, data: DatasetFolder) -> None:
    whole = data.manifest()
    part = whole.model_copy(update={"images": whole.images[:40], "classes": ("a/b cup", "plate")})
    part.write(data.path / "manifest.json")
    data.versions.add(2, 1, whole)
    app = open_page(PAGE, dataset=data.id)
    assert "40 as before, and 20 that were added: 20 of bowl, a new class." in text(app)
    assert "stay in the parts that they were in" in text(app)


def test_an_addition_that_could_not_be_read_can_be_tried_again(open_page: Open, data: DatasetFolder) -> None:
    failure = records.Failure(kind="layout", message="There is nothing new among these pictures.", exit_code=2)
    records.Status(state="failed", failure=failure).write(data.path / "status.json")
    app = open_page(PAGE, dataset=data.id)
    said = app.error[0].value.replace("\\", "")
    assert "what was here before is as it was. There is nothing new" in said
    assert "60 pictures in 3 classes" in text(app)
    press(app, "Add to these")
    assert "How to add pictures" in [control.label for control in app.segmented_control]
