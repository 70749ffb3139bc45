"""A login at an OpenID provider, in a browser: before it nothing answers, and after it only whom the operator allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import free_port, serving, token
from tests.browser.provider import CLIENT, providing
from tests.server.visiting import ask, visiting

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytest.importorskip("authlib", reason="Authlib is not installed; make test installs it.")
pytestmark = pytest.mark.browser
SECRETS = """[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "a secret of this test"
client_id = "{client}"
client_secret = "between us"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


def test_who_may_use_the_app_logs_in_at_the_provider_and_nobody_else_gets_a_byte(page: Page, tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "home"
    (home / ".streamlit").mkdir(parents=True)
    settings = {"HOME": str(home), "GRAFT_LOGIN": "openid", "GRAFT_LOGIN_EMAILS": "bob@example.com, @Example.org"}
    with providing() as provider:
        secrets = SECRETS.format(port=port, client=CLIENT, provider=provider.address)
        (home / ".streamlit" / "secrets.toml").write_text(secrets)
        with serving(tmp_path / "app" / "store", port, **settings) as address:
            for path in ("/", "/media/a.png", "/static/index.js", "/_stcore/host-config", "/logout"):
                assert ask(address, path)[0] == 401
            assert ask(address, "/_stcore/upload_file/a/b", method="PUT", body=b"x")[0] == 401
            with pytest.raises(Exception, match="401"), visiting(address):
                pass
            assert ask(address, "/_stcore/health")[0] == 200

            provider.email = "eve@elsewhere.example"
            page.goto(f"{address}/?workspace={'ab' * 16}")
            page.get_by_role("link", name="Log in").click()
            expect(page.get_by_text("eve@elsewhere.example may not use this server.")).to_be_visible()
            cookie = "; ".join(f"{kept['name']}={kept['value']}" for kept in page.context.cookies())
            assert ask(address, "/_stcore/host-config", headers={"Cookie": cookie})[0] == 403
            page.get_by_role("button", name="Log out").click()

            provider.email = "ann@example.org"
            page.goto(f"{address}/?workspace={'ab' * 16}")
            page.get_by_role("link", name="Log in").click()
            expect(page.get_by_role("button", name="Show me")).to_be_visible()
            assert token(page) == "ab" * 16
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_role("link", name="Log in")).to_be_visible()

            provider.verified = False
            page.get_by_role("link", name="Log in").click()
            expect(page.get_by_text("does not say that this address is verified")).to_be_visible()
