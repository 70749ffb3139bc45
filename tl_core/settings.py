"""What an operator sets through environment variables: one table, `Settings`, with defaults for a person, an office and a Space.

The table in docs/deploy.md is written from it by `make options`.
"""

import os
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import platformdirs
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tl_core.errors import SpecError

PREFIX = "GRAFT_"
Preset = Literal["person", "office", "space"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(network, strict=False)) for network in _parts(text))
    except ValueError:
        raise ValueError("addresses or networks such as 10.0.0.1,192.168.0.0/16") from None


_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
_Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)]


def _setting(meaning: str, person: Any, office: Any = None, space: Any = None, **limits: Any) -> Any:
    """A field of `Settings`, with its default under each preset; one that is not given is that of `person`.

    `limits` are those of `pydantic.Field`. Its `title` is what the tables show for a default that is empty.
    """
    defaults = [person, person if office is None else office, person if space is None else space]
    return Field(description=meaning, json_schema_extra={"defaults": defaults}, **limits)


class Settings(BaseSettings):
    """The settings of one moment. Each field is the variable of its name, in capitals, after `GRAFT_`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
        allow_inf_nan=False,
    )

    preset: Preset = _setting(
        "for whom the other defaults are: `person` (this machine's owner), `office` (a server for people who know each other) or "
        "`space` (strangers); inside a Hugging Face Space it is `space` by itself",
        *PRESETS,
    )
    store: str = _setting("the folder for workspaces, cache and queue", "", title="the user's data folder")
    keep_days: float = _setting("days after which an unused workspace is deleted; 0 keeps it for ever", 0, 0, 2, ge=0)
    max_upload_mb: float = _setting("largest size of an upload, in megabytes", 500, ge=0)
    uploads_gb: float = _setting(
        "uploads that lie in the app's memory at once, over all visitors, in gigabytes; further ones are told to wait",
        2,
        ge=0,
    )
    cache_gb: float = _setting(
        "largest size of the cache (decoded pictures, features, exported backbones), in gigabytes", 10, ge=0
    )
    workspace_gb: float = _setting(
        "how much a workspace may take (data sets, runs and uploads), in gigabytes; 0: no limit", 0, 20, 2, ge=0
    )
    weights_gb: float = _setting(
        "how much the pretrained weights may take that Graft downloaded, in gigabytes; beyond it the least recently used ones are "
        "removed; 0: no limit",
        0,
        50,
        5,
        ge=0,
    )
    free_gb: float = _setting(
        "how much of the disk stays free, in gigabytes: below it no upload is taken and no job starts; at most a twentieth of "
        "the disk",
        1,
        5,
        1,
        ge=0,
    )
    executor: str = _setting(
        "where jobs run: `local` (processes of this machine), or `MODULE:CLASS`, a class of your own with the methods `submit`, "
        "`cancel`, `alive` and `log`",
        "local",
    )
    weights_dir: str = _setting(
        "a folder with weights of your own: `NAME.safetensors`, `NAME.pth` or the library's file name", "", title="none"
    )
    hosts: _Names = _setting(
        "names under which the app answers, with commas between them; `*.example.org` stands for all names that end so. The names "
        "of the machine itself, such as `localhost`, always work",
        "",
        title="any name; only those of the machine itself if the app listens on 127.0.0.1",
    )
    password: str = _setting("a password that the app asks for before it shows or sends anything", "", title="none")
    login: Literal["none", "openid"] = _setting(
        "`openid` asks for a login at the OpenID provider that `.streamlit/secrets.toml` names", "none"
    )
    login_emails: _Names = _setting(
        "verified e-mail addresses that may use the app after such a login, with commas between them; `@example.org` stands for all of a domain",
        "",
        title="everybody whom the provider knows",
    )
    proxies: _Networks = _setting(
        "addresses or networks of your proxies, with commas between them: what they say in `X-Forwarded-For` and "
        "`X-Forwarded-Proto` is believed",
        "",
        title="none",
    )
    most_jobs: int = _setting(
        "jobs of everybody that may wait or work at the same time; each is a process, of about 25 MB while it waits",
        100,
        ge=1,
    )
    reading_at_once: int = _setting("data sets that are read at the same time", 2, ge=1)
    questions_at_once: int = _setting(
        "small jobs that need no device and are done at the same time: a preview, a look into a network, the description of one",
        2,
        ge=1,
    )
    job_hours: float = _setting(
        "hours that a job may have a device; a training then ends with its best state so far; 0 sets no limit",
        0,
        12,
        2,
        ge=0,
    )
    small_job_minutes: float = _setting(
        "minutes that a job may take that reads pictures or needs no device; 0 sets no limit", 0, 120, 30, ge=0
    )
    job_memory_gb: float = _setting(
        "memory that one job may have, with the processes that decode its pictures, in gigabytes; 0 is four fifths of what the "
        "machine or its container has",
        0,
        ge=0,
    )
    job_needs_mb: float = _setting(
        "memory that must be free before a job starts beside another one, in megabytes, where nothing better is known of it",
        600,
        ge=0,
    )
    find_groups: bool = _setting(
        "near-copies, bursts, augmented copies and wrong labels are looked for while pictures are read; this takes 1 GB of memory, and the time in which the "
        "embedded backbone looks at each picture once",
        True,
    )
    starts_an_hour: int = _setting(
        "jobs that may be started within an hour from one network address; 0 sets no limit", 0, 600, 60, ge=0
    )
    workspaces_an_hour: int = _setting(
        "workspaces that may be made within an hour from one network address; 0 sets no limit", 0, 200, 20, ge=0
    )
    most_pages: int = _setting(
        "pages of the app that may be open at the same time, over all visitors; each takes about 3 MB of the app's memory",
        200,
        400,
        200,
        ge=1,
    )
    pages_an_address: int = _setting(
        "pages that may be open at the same time from one network address; 0 sets no limit", 0, 100, 20, ge=0
    )
    network_millions: int = _setting(
        "parameters, in millions, of the largest network of timm that can be added by its name", 1000, 1000, 350, ge=1
    )

    @model_validator(mode="before")
    @classmethod
    def _by_preset(cls, values: dict[str, Any]) -> dict[str, Any]:
        preset = values.get("preset", "space" if on_space() else "person")
        column = PRESETS.index(preset) if preset in PRESETS else 0
        return {name: defaults_of(field)[column] for name, field in cls.model_fields.items()} | values

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1e6)

    @property
    def uploads_bytes(self) -> int:
        return int(self.uploads_gb * 1e9)

    @property
    def cache_bytes(self) -> int:
        return int(self.cache_gb * 1e9)

    @property
    def workspace_bytes(self) -> int:
        """0 where there is no limit."""
        return int(self.workspace_gb * 1e9)

    @property
    def weights_bytes(self) -> int:
        """0 where there is no limit."""
        return int(self.weights_gb * 1e9)

    @property
    def free_bytes(self) -> int:
        return int(self.free_gb * 1e9)


def current() -> Settings:
    """The settings that the environment gives now.

    Raises:
        SpecError: with every value that cannot be used.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) or name == "SPACE_ID"}
    return _of(tuple(sorted(environment.items())))


def check(*more: Callable[[], object]) -> Settings:
    """`current`, after a look at all that can be wrong before a server starts: values, folders, names that are no setting, and what
    each of `more` looks at.

    Raises:
        SpecError: with all problems at once, also those that `more` raises.
    """
    problems = [_unknown(name) for name in sorted(os.environ) if name.startswith(PREFIX) and name not in variables()]
    for look in (current, store_folder, weights_folder, _list_without_login, *more):
        try:
            look()
        except SpecError as error:
            problems.append(error.message)
    if problems:
        raise SpecError.of(dict.fromkeys(problems))
    return current()


def defaults_of(field: FieldInfo) -> list[Any]:
    """The default of a field of `Settings` under each of `PRESETS`."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not isinstance(extra["defaults"], list):
        raise TypeError(f"{field!r} was not made by _setting")
    return extra["defaults"]


def variables() -> dict[str, FieldInfo]:
    """The fields of `Settings` by the names of their environment variables."""
    return {f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()}


def store_folder() -> Path:
    """The folder that GRAFT_STORE names, else the user's data folder; it need not exist yet.

    Raises:
        SpecError: it lies where no folder can be.
    """
    chosen = current().store
    folder = Path(chosen).expanduser().resolve() if chosen else Path(platformdirs.user_data_dir("graft"))
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise SpecError(f"GRAFT_STORE is {folder}, but {nearest} is a file. Name a folder.")
    return folder


def weights_folder() -> Path | None:
    """The operator's own folder of weights files; None where there is none.

    Raises:
        SpecError: what GRAFT_WEIGHTS_DIR names is no folder.
    """
    chosen = current().weights_dir
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise SpecError(f"GRAFT_WEIGHTS_DIR is {folder}, which is no folder. Name one that is there.")
    return folder


def _list_without_login() -> None:
    """Raises SpecError where GRAFT_LOGIN_EMAILS has no effect, because it would seem to close a server that is open."""
    if current().login_emails and current().login == "none":
        raise SpecError(
            "GRAFT_LOGIN_EMAILS lists who may use the app after a login, but GRAFT_LOGIN is none, so nobody is asked to log in. "
            "Set GRAFT_LOGIN=openid, or leave the list out."
        )


def on_space() -> bool:
    """Whether this process runs in a Hugging Face Space, which sets SPACE_ID."""
    return bool(os.environ.get("SPACE_ID"))


@lru_cache(maxsize=8)
def _of(environment: tuple[tuple[str, str], ...]) -> Settings:
    del environment  # the cache's key
    try:
        return Settings()
    except ValidationError as error:
        raise SpecError.of(_problem(dict(problem)) for problem in error.errors()) from None


def _problem(error: dict[str, Any]) -> str:
    name = f"{PREFIX}{str(error['loc'][0]).removeprefix(PREFIX).removeprefix(PREFIX.lower()).upper()}"
    field = variables()[name]
    words: dict[Any, str] = {float: "a number", int: "a whole number", bool: "true or false"}
    takes = words.get(field.annotation)
    lowest = next((part.ge for part in field.metadata if hasattr(part, "ge")), None)
    if takes and lowest is not None:
        takes += f" from {lowest} up"
    if takes is None:
        # A validator of our own speaks for itself.
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        takes = ", ".join(choices) or str(error["msg"]).removeprefix("Value error, ")
    return f"The environment variable {name} is {error['input']!r}; it takes {takes}."


def _unknown(name: str) -> str:
    # Without the prefix, which would make any two names alike.
    near = get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in variables()], n=1)
    return f"The environment variable {name} is no setting of Graft." + (
        f" Did you mean {PREFIX}{near[0]}?" if near else ""
    )
