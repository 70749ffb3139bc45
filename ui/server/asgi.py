"""The ASGI application: Streamlit's own, with the guards of this folder before it."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from tl_core import settings
from ui.server import openid, password
from ui.server.bundle_zips import BundleZips
from ui.server.hosts import Hosts
from ui.server.messages import Messages, OpenPages
from ui.server.responses import FirstPage, ResponseHeaders
from ui.server.upload_ceiling import UploadCeiling

ENTRY = Path(__file__).parents[2] / "streamlit_app.py"


_made: list[App] = []


def application() -> App:
    """The app, ready to be served; Streamlit's configuration must be loaded before."""
    _made.append(App(ENTRY, middleware=guards(settings.current())))
    return _made[-1]


def guarded() -> bool:
    """Whether this process serves the app with its guards; false under `streamlit run`."""
    return bool(_made)


def guards(chosen: settings.Settings) -> list[Middleware]:
    """What a request passes on its way to Streamlit, in this order."""
    total = chosen.uploads_bytes
    first = [
        Middleware(ResponseHeaders, on_space=settings.on_space()),
        Middleware(Hosts, bound=config.get_option("server.address"), listed=chosen.hosts),
    ]
    login = []
    if chosen.password:
        key = password.signing_key(settings.store_folder(), chosen.password)
        login = [Middleware(password.Password, password=chosen.password, key=key)]
    if chosen.login == "openid":
        login.append(Middleware(openid.OpenId, allowed=chosen.login_emails))
    return [
        *first,
        *login,
        Middleware(OpenPages, most=chosen.most_pages, here=chosen.pages_an_address),
        Middleware(Messages),
        Middleware(UploadCeiling, session=min(chosen.max_upload_bytes, total), total=total),
        Middleware(BundleZips),
        Middleware(FirstPage, entry=ENTRY),
    ]


def asks_for_login() -> bool:
    """Whether the operator wants visitors to log in."""
    chosen = settings.current()
    return bool(chosen.password) or chosen.login == "openid"
