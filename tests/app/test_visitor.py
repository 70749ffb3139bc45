"""What one address may start and make within an hour, what becomes of an upload that is refused, and which visitors count together."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app import records
from tests.app.conftest import Open
from tl_core.documents.events import Outlook
from tl_core.errors import LimitReached
from tl_core.runs.process.queue import drop_ticket, take_ticket
from tl_core.runs.store.store import Store, new_token
from ui import actions, visitor
from ui.data_page import uploads
from ui.places import DATA

ADDRESS = visitor.address
HERE, THERE = "203.0.113.7", "203.0.113.8"


@pytest.fixture(autouse=True)
def nobody_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has started anything, and the visitor comes from HERE."""
    come_from(monkeypatch, HERE)
    for limit in (visitor.STARTS, visitor.WORKSPACES):
        limit._moments.clear()


def come_from(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.setattr("ui.visitor.address", lambda: address)


def test_an_address_starts_as_many_jobs_as_the_operator_allows_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_STARTS_AN_HOUR", "2")
    workspace = records.workspace()
    workspace.make()
    for _ in range(2):
        actions.check_start(workspace)
    with pytest.raises(LimitReached, match="possible in 1\N{NARROW NO-BREAK SPACE}h; nothing here is lost"):
        actions.check_start(workspace)
    come_from(monkeypatch, THERE)
    actions.check_start(workspace)
    come_from(monkeypatch, None)
    for _ in range(3):
        actions.check_start(workspace)


def test_an_address_makes_as_many_workspaces_as_the_operator_allows_and_keeps_using_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_WORKSPACES_AN_HOUR", "2")
    made = [Store.default().workspace(new_token()) for _ in range(2)]
    for workspace in made:
        visitor.enter(workspace, job=False)
        workspace.make()
    with pytest.raises(LimitReached, match="As many workspaces as this server allows"):
        visitor.enter(Store.default().workspace(new_token()), job=True)
    for workspace in made:
        actions.check_start(workspace)


def test_a_start_is_possible_again_an_hour_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_STARTS_AN_HOUR", "2")
    for moment in (0.0, 600.0):
        visitor.STARTS.count(HERE, moment)
    assert visitor.STARTS.wait(HERE, 900.0) == 2700.0
    assert visitor.STARTS.wait(HERE, 3600.0) == 0.0
    visitor.STARTS.count(HERE, 3600.0)
    assert visitor.STARTS.wait(HERE, 3601.0) == 599.0


def test_the_owner_of_a_machine_is_not_limited_and_a_space_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in range(100):
        visitor.STARTS.count(HERE, float(moment))
    assert visitor.STARTS.wait(HERE, 100.0) == 0.0
    monkeypatch.setenv("GRAFT_PRESET", "space")
    assert visitor.STARTS.wait(HERE, 100.0) > 0.0


def test_of_very_many_addresses_those_that_were_quiet_for_longest_are_forgotten() -> None:
    noted: visitor.Places[list[int]] = visitor.Places(list, most=2)
    for place in ("a", "b", "a", "c"):
        noted.at(place).append(1)
    assert noted == {"a": [1, 1], "c": [1]}


def test_photos_that_no_workspace_may_be_made_for_stay_and_are_taken_by_a_press(
    open_page: Open, in_memory: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_WORKSPACES_AN_HOUR", "1")
    visitor.enter(Store.default().workspace(new_token()), job=False)
    app = open_page(DATA.file)
    app.segmented_control(key="way").set_value("Class by class").run()
    app.file_uploader(key="photos-0").set_value([("cup.jpg", b"x", "image/jpeg")]).run()
    assert "As many workspaces as this server allows" in app.error[0].value
    assert in_memory() == ["cup.jpg"]
    monkeypatch.setenv("GRAFT_WORKSPACES_AN_HOUR", "0")
    app.button(key="photos-again").click().run()
    assert not app.error
    assert in_memory() == []
    assert "1 photo waiting for a name" in app.button(key="close-class").label


def test_a_photo_of_the_camera_that_may_not_be_taken_now_stays_and_is_taken_by_a_press(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_WORKSPACES_AN_HOUR", "1")
    visitor.enter(Store.default().workspace(new_token()), job=False)
    app = open_page(DATA.file)
    app.segmented_control(key="way").set_value("Class by class").run()
    app.toggle(key="photos-camera").set_value(True).run()
    app.camera_input[0].upload("cup.jpg", b"x", "image/jpeg").run()
    monkeypatch.setenv("GRAFT_WORKSPACES_AN_HOUR", "0")
    app.button(key="photos-shot-again").click().run()
    assert "1 photo waiting for a name" in app.button(key="close-class").label


def test_an_upload_that_may_not_be_read_now_stays_and_is_read_by_a_press(
    open_page: Open, in_memory: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("cup/1.jpg", b"x")
    monkeypatch.setenv("GRAFT_MOST_JOBS", "1")
    monkeypatch.setattr("tl_core.runs.start.jobs.submit_ingest", lambda where, **asked: records.dataset(where))
    somebody = take_ticket(Store.default().queue, "cpu", "f" * 32, Outlook())
    app = open_page(DATA.file)
    app.file_uploader(key="zip-0").set_value(("pictures.zip", content.getvalue(), "application/zip")).run()
    assert "Try again in a few minutes" in app.error[0].value
    assert in_memory() == ["pictures.zip"]
    drop_ticket(somebody)
    app.button(key="zip-again").click().run()
    assert not app.error
    assert in_memory() == []
    assert records.workspace().datasets()


def test_an_upload_that_the_app_fails_to_keep_leaves_nothing_on_the_disk_and_in_memory(
    open_page: Open, in_memory: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: object, staging: Path) -> Path:
        (staging / "upload.zip").write_bytes(b"half of it")
        raise RecursionError

    monkeypatch.setattr(uploads, "save_zip", fail)
    app = open_page(DATA.file)
    with pytest.raises(AssertionError):
        app.file_uploader(key="zip-0").set_value(("pictures.zip", b"x", "application/zip")).run()
    assert list((records.workspace().path / "staging").iterdir()) == []
    assert in_memory() == []


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        (None, None),
        ("whatever a header said", visitor.UNREADABLE),
    ],
)
def test_one_line_is_one_origin(host: str | None, origin: str | None) -> None:
    assert visitor.origin(host) == origin


def test_in_a_space_an_address_of_a_proxy_says_nothing_about_a_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visitor.origin("10.16.1.1") == "10.16.1.1"
    monkeypatch.setenv("SPACE_ID", "someone/graft")
    assert visitor.origin("198.41.0.4") is None
    monkeypatch.setenv("GRAFT_PROXIES", "10.16.0.0/12")
    assert visitor.origin("198.41.0.4") == "198.41.0.4"
    # A proxy before the named one, or a named one that forwards no address.
    assert visitor.origin("10.200.1.1") is None
    assert visitor.origin("fd00::1") is None


def test_without_a_connection_no_address_is_known() -> None:
    assert ADDRESS() is None
