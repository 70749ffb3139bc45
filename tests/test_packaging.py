"""What a user installs: the Dockerfile's lines really run, the Makefile's and the README's promises hold."""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement

import tl_core
from tests.conftest import PATIENCE, PictureFolder, until
from tl_core import cli

ROOT = Path(__file__).parent.parent
UNSHARE = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest of the line), continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def rows(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def test_the_container_runs_as_user_1000_who_owns_what_is_copied() -> None:
    names = [name for name, _ in instructions()]
    useradd = next(index for index, (_, rest) in enumerate(instructions()) if "useradd" in rest)
    assert "--uid 1000" in instructions()[useradd][1]
    assert useradd < names.index("USER") < names.index("COPY")
    assert all("--chown=user" in rest for rest in rows("COPY"))
    assert any("HOME=/home/user" in rest for rest in rows("ENV"))
    assert any("GRAFT_STORE=/home/user/" in rest for rest in rows("ENV"))
    assert "/_stcore/health" in rows("HEALTHCHECK")[0]
    assert rows("ARG") == ['TORCH_INDEX="https://download.pytorch.org/whl/cu126"']


def as_user_1000() -> list[str]:
    """The command prefix that makes a child uid 1000; skips the test where that is not allowed."""
    if os.getuid() == 1000:
        return []
    if os.getuid() != 0:
        pytest.skip(f"runs as uid {os.getuid()}, which may not become uid 1000")
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare command, so a child cannot be given uid 1000")
    tried = subprocess.run([*UNSHARE, "id", "-u"], capture_output=True, text=True, check=False)
    if tried.stdout.strip() != "1000":
        pytest.skip(f"this machine does not let a child become uid 1000: {tried.stderr.strip()}")
    return UNSHARE


def checkout(into: Path) -> None:
    """What `COPY . .` takes, read-only."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    kept = [
        name for name in names if name and not name.startswith(("tests/", ".git", ".ci/")) and (ROOT / name).is_file()
    ]
    if not kept:
        pytest.skip("needs a git checkout to know which files belong to the project")
    for name in kept:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        target.chmod(0o444)
    for folder in [into, *(path for path in into.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path, venv: Path) -> dict[str, str]:
    """The image's environment: its own ENV lines, nothing of this user's but how packages are fetched."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower() in {"http_proxy", "https_proxy", "no_proxy", "ssl_cert_file"}
    }
    values = {**kept, "PATH": f"{venv}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    for line in rows("ENV"):
        for assignment in shlex.split(line):
            name, value = assignment.split("=", 1)
            if name != "PATH":
                values[name] = value.replace("/home/user", str(home))
    return values


def wait_until_healthy(check: list[str], app: subprocess.Popen[bytes], env: dict[str, str], log: Path) -> None:
    """Run the image's own health check until it passes; fails when the app ends."""

    def healthy() -> bool:
        assert app.poll() is None, log.read_text()
        return subprocess.run(check, env=env, capture_output=True, check=False).returncode == 0

    until(healthy)


def give_requirements(venv: Path) -> None:
    """Put into `venv` what requirements.txt brought here, and nothing else, by links; pip then finds it all installed."""
    (there,) = venv.glob("lib/python3*/site-packages")
    wanted, given = [Requirement(line) for line in requirements("requirements.txt")], set[str]()
    while wanted:
        requirement = wanted.pop()
        if str(requirement) in given:
            continue
        given.add(str(requirement))
        found = metadata.distribution(requirement.name)
        for needed in map(Requirement, found.requires or ()):
            if not needed.marker or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                wanted.append(needed)
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (there / name).exists():
                (there / name).symlink_to(found.locate_file(name))


@pytest.mark.parametrize("packages", ["linked", pytest.param("downloaded", marks=pytest.mark.slow)])
def test_the_dockerfile_builds_and_serves_without_a_container_engine(
    tmp_path: Path, picture_folder: PictureFolder, packages: str
) -> None:
    """Linked: with the packages that `make` downloaded for these tests a moment ago; `make test-all` downloads them again."""
    prefix = as_user_1000()
    home, work, venv = tmp_path / "home", tmp_path / "app", tmp_path / "venv"
    home.mkdir()
    work.mkdir()
    checkout(work)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    env = environment(home, venv)
    if packages == "linked":
        give_requirements(venv)
        env["PIP_NO_INDEX"] = "1"
    try:
        for line in rows("RUN"):
            # The photographs are a third of a gigabyte; tests/data/test_samples.py keeps some from a server of its own.
            if "apt-get" in line or "useradd" in line or "--photos" in line:
                continue
            done = subprocess.run(
                [*prefix, "sh", "-c", line],
                cwd=work,
                env={**env, "TORCH_INDEX": ""},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"RUN {line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

        written = subprocess.run([*prefix, "touch", work / "written"], capture_output=True, check=False)
        assert written.returncode != 0, "the checkout is not read-only for uid 1000"
        assert any((home / "graft" / "cache").rglob("*.onnx")), "the embedded backbone was not prepared"

        command = json.loads(rows("CMD")[0])
        assert command[command.index("--host") + 1] == "0.0.0.0"
        port = str(free_port())
        command = [part.replace("0.0.0.0", "127.0.0.1").replace("8501", port) for part in command]
        check = json.loads(re.sub(r"^.*?CMD\s+", "", rows("HEALTHCHECK")[0]).replace("8501", port))
        log = tmp_path / "log.txt"
        with log.open("wb") as output:
            app = subprocess.Popen([*prefix, *command], cwd=work, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_healthy(check, app, env, log)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as page:
                assert b"<html" in page.read().lower()
        finally:
            app.send_signal(signal.SIGTERM)
            app.wait(timeout=PATIENCE)

        # What `requirements.txt` alone brings is enough for the main job, with all defaults.
        data = picture_folder({"cat": 20, "dog": 20, "fox": 20}, root=home / "pictures")
        train = ["python", "-m", "tl_core", "train", str(data), "--json"]
        done = subprocess.run([*prefix, *train], cwd=work, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        result = json.loads(done.stdout)
        assert result["test_accuracy"] > 0.85
        assert Path(result["run_dir"]).is_relative_to(home)
    finally:
        subprocess.run(["chmod", "-R", "u+w", work], check=False)
        shutil.rmtree(venv, ignore_errors=True)


REQUIREMENTS = ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt", "requirements-samples.txt"]


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_dependencies_are_ranges(name: str) -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+>=[0-9.]+(,!=[0-9.]+)?", line) for line in requirements(name))


def test_each_dependency_has_a_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    named = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|$", text, flags=re.MULTILINE))
    installed = {line.split(">=")[0] for name in REQUIREMENTS for line in requirements(name)}
    assert named.keys() == installed


def test_readme_shows_each_public_name() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in tl_core.__all__ if name not in readme]


def test_each_command_has_a_line_and_the_documents_name_no_other() -> None:
    commands = set(typer.main.get_command(cli.app).commands)
    for name, some in (("docs/command-line.md", False), ("README.md", True)):
        lines = re.findall(r"^    python -m tl_core (.+?) {2,}", (ROOT / name).read_text(), flags=re.MULTILINE)
        first = {word for line in lines for word in line.split(" DATA")[0].split(" RUN")[0].replace(" | ", " ").split()}
        assert some or commands <= first
        assert {line.split()[0] for line in lines} <= commands


def test_readers_of_the_readme_see_every_picture_that_make_screenshots_takes() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [
        file.name for file in (ROOT / "docs" / "images").iterdir() if f"(docs/images/{file.name})" not in readme
    ]


@pytest.mark.parametrize("secret", [".env", ".env.local", "ui/.env", ".streamlit/secrets.toml"])
def test_a_secret_in_the_checkout_does_not_get_into_an_image(secret: str) -> None:
    patterns = (ROOT / ".dockerignore").read_text().split()
    names = [secret, secret.rpartition("/")[2]]
    assert any(fnmatch(name, pattern.removeprefix("**/")) for pattern in patterns for name in names)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_who_installs_for_the_first_time_sees_how_far_it_is() -> None:
    told = subprocess.run(
        ["make", "-n", "-B", ".venv/app"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (install,) = [line for line in told if "pip install" in line]
    assert "requirements.txt" in install
    assert "--quiet" not in install
    assert any("PyTorch" in line for line in told[: told.index(install)])


def test_readme_front_matter_is_that_of_a_docker_space() -> None:
    _, matter, text = (ROOT / "README.md").read_text().split("---\n", 2)
    values = dict(line.split(": ", 1) for line in matter.strip().splitlines())
    assert values["sdk"] == "docker"
    assert values["app_port"] == "8501"
    assert text.index("make app") < text.index("make test") < text.index("\n## ")


GUIDES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/dependencies.md",
        "docs/command-line.md",
        "docs/demo.md",
        "docs/deploy.md",
        "docs/pictures.md",
    )
]
ROOMS = ("tl_core", "ui", "pages", "tests", "docs", "benchmarks", ".ci")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_whoever_follows_a_document_finds_the_files_modules_and_targets_that_it_names(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    in_backticks = re.findall(r"`([^`\n]+)`", text)
    named = [
        ROOT / path for path in in_backticks if re.fullmatch(rf"({'|'.join(map(re.escape, ROOMS))})/[\w./-]*", path)
    ]
    linked = [guide.parent / path for path in re.findall(r"\]\((?!https?:|#)([^)#]+)", text)]
    modules = [ROOT / name.replace(".", "/") for name in re.findall(r"-m ((?:tl_core|tests|benchmarks)[\w.]*)", text)]
    missing = [path for path in named + linked if not path.exists() and "NAME" not in path.name]
    missing += [path for path in modules if not path.is_dir() and not path.with_suffix(".py").is_file()]
    assert not missing
    targets = set(re.findall(r"(?:`|^ {4})make ([a-z][a-z-]*)", text, flags=re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_whoever_looks_for_a_room_finds_it_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [path for path in (ROOT / "tl_core").iterdir() if path.name[0].isalpha() and path.name != "py.typed"]
    assert not [path.name for path in rooms if not re.search(rf"tl_core/{re.escape(path.name)}\b", text)]


def test_whoever_reads_a_file_name_knows_which_file_it_is() -> None:
    files = [path.name for room in ("tl_core", "ui", "pages") for path in (ROOT / room).rglob("*.py")]
    twice = {name for name in files if name != "__init__.py" and files.count(name) > 1}
    assert not twice


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.name)
def test_whoever_runs_a_benchmark_finds_what_it_imports_of_the_product(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tl_core"):
            exec(ast.unparse(node), {})


def test_version_is_the_one_of_the_project_file() -> None:
    assert f'\nversion = "{tl_core.__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_the_makefile_has_the_promised_targets() -> None:
    targets = ["app", "demo", "check", "test", "test-all"]
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-m tl_core app" in done.stdout
    assert "-m tl_core demo" in done.stdout
