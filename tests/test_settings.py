"""The operator's settings: presets, and everything that is wrong said at once."""

from pathlib import Path

import pytest

from tl_core import settings
from tl_core.errors import SpecError


def test_a_preset_sets_the_defaults_and_a_variable_beats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.current().keep_days == 0
    monkeypatch.setenv("SPACE_ID", "someone/graft")
    assert (settings.current().preset, settings.current().keep_days) == ("space", 2)
    monkeypatch.setenv("GRAFT_KEEP_DAYS", "7")
    assert settings.current().keep_days == 7
    monkeypatch.setenv("GRAFT_PRESET", "office")
    assert settings.current().preset == "office"


def test_all_problems_are_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    for name, value in {
        "PRESET": "cloud",
        "KEEP_DAYS": "-1",
        "CACHE_GB": "inf",
        "MAX_UPLOAD_MB": "much",
        "STORE": f"{a_file}/store",
        "WEIGHTS_DIR": str(a_file),
        "KEEP_DAY": "3",
    }.items():
        monkeypatch.setenv(f"GRAFT_{name}", value)
    with pytest.raises(SpecError) as error:
        settings.check()
    assert error.value.message == (
        "The environment variable GRAFT_KEEP_DAY is no setting of Graft. Did you mean GRAFT_KEEP_DAYS? "
        "The environment variable GRAFT_PRESET is 'cloud'; it takes person, office, space. "
        "The environment variable GRAFT_KEEP_DAYS is '-1'; it takes a number from 0 up. "
        "The environment variable GRAFT_MAX_UPLOAD_MB is 'much'; it takes a number from 0 up. "
        "The environment variable GRAFT_CACHE_GB is 'inf'; it takes a number from 0 up."
    )
    for name in ("PRESET", "KEEP_DAYS", "CACHE_GB", "MAX_UPLOAD_MB", "KEEP_DAY"):
        monkeypatch.delenv(f"GRAFT_{name}")
    with pytest.raises(SpecError) as error:
        settings.check()
    assert error.value.message == (
        f"GRAFT_STORE is {a_file}/store, but {a_file} is a file. Name a folder. "
        f"GRAFT_WEIGHTS_DIR is {a_file}, which is no folder. Name one that is there."
    )


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_PROXIES", " 10.0.0.1, 192.168.1.7/16 ,::1,")
    assert settings.current().proxies == ("10.0.0.1/32", "192.168.0.0/16", "::1/128")
    monkeypatch.setenv("GRAFT_PROXIES", "nginx")
    with pytest.raises(SpecError, match=r"GRAFT_PROXIES is 'nginx'; it takes addresses or networks"):
        settings.check()


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_KEEP_DAYS", "")
    assert settings.check().keep_days == 0


def test_a_list_of_who_may_log_in_needs_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_LOGIN_EMAILS", "@office.example")
    with pytest.raises(SpecError, match="nobody is asked to log in"):
        settings.check()
    monkeypatch.setenv("GRAFT_LOGIN", "openid")
    assert settings.check().login_emails == ("@office.example",)
