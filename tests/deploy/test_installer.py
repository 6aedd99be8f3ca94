"""deploy/systemd/install.sh, run for real below a folder: installed, repeated, changed, undone to the last byte."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from rig import machine
from tests.deploy import project
from tests.deploy.image import Image
from waitroom import __version__
from waitroom.settings import sources

SYSTEMD: Final = project.DEPLOY / "systemd"
SCRIPT: Final = SYSTEMD / "install.sh"

#: Where the installer keeps what it needs to undo.
BACKUPS: Final = Path("var/backups/waitroom")

UNITS: Final = Path("etc/systemd/system")
CONFIG: Final = Path("etc/waitroom")


def run(root: Path, *options: str, code: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """What the installer says; fails where it does not end with that code."""
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT), "--prefix", str(root), *options],
        env={"PATH": os.environ["PATH"], "HOME": str(root), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def install(root: Path, *options: str, code: int = 0) -> str:
    """An installation without the program, which takes long and has a test of its own."""
    return run(root, "--no-program", *options, code=code)


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """All below a root but the backups: kind, mode, owner, time and content of files; kind, mode, owner of folders."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        about = path.lstat()
        if inside.parts[:1] == ("var",):
            continue
        if path.is_symlink():
            found[str(inside)] = ("link", os.readlink(path))
        elif path.is_dir():
            found[str(inside)] = ("folder", stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid)
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            mode = stat.S_IMODE(about.st_mode)
            found[str(inside)] = ("file", mode, about.st_uid, about.st_gid, about.st_mtime_ns, content)
    return found


def backups(root: Path) -> list[Path]:
    """The folders of the installations that are not undone."""
    return sorted(path for path in (root / BACKUPS).iterdir() if path.is_dir() and not path.name.endswith(".undone"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What stands for the root of a machine's files: not empty, and with a space in its name."""
    folder = tmp_path / "a root"
    (folder / "etc" / "systemd" / "system").mkdir(parents=True)
    (folder / "etc" / "hostname").write_text("machine\n")
    return folder


def test_shellcheck_has_nothing_to_say() -> None:
    """POSIX shell, and none of its usual traps."""
    program = machine.program("shellcheck")
    done = subprocess.run([program, "--shell=sh", str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert os.access(SCRIPT, os.X_OK)


def test_everything_is_put_in_its_place(root: Path) -> None:
    """Units, settings, secrets and Redis's files, each with its mode; the settings are accepted for production."""
    install(root)
    for name in ("waitroom.service", "waitroom@.service", "redis-server.service.d/waitroom.conf"):
        assert (root / UNITS / name).read_bytes() == (SYSTEMD / name).read_bytes()
    modes = {str(path.relative_to(root)): oct(path.stat().st_mode)[-3:] for path in (root / "etc").rglob("*.*")}
    assert modes["etc/waitroom/waitroom.toml"] == "644"
    assert modes["etc/waitroom/secrets.env"] == "600"
    assert oct((root / CONFIG / "redis-password").stat().st_mode)[-3:] == "600"
    assert modes["etc/redis/waitroom.conf"] == modes["etc/redis/users.acl"] == "640"
    shipped = project.DEPLOY / "redis" / "redis.conf"
    assert (root / "etc/redis/waitroom.conf").read_bytes() == shipped.read_bytes()
    assert sources.load(root / CONFIG / "waitroom.toml", environment=secrets(root)).production


def secrets(root: Path) -> dict[str, str]:
    """The environment that the files make: what the unit gives, and the secrets."""
    text = (root / CONFIG / "secrets.env").read_text(encoding="ascii")
    given = dict(line.partition("=")[::2] for line in text.splitlines())
    password = str(root / CONFIG / "redis-password")
    return {**given, "WAITROOM_PRODUCTION": "true", "WAITROOM_REDIS_PASSWORD_FILE": password}


def test_the_drop_in_starts_redis_with_the_file_that_is_installed(root: Path) -> None:
    """Paths in the unit and in the configuration are those of the installed files."""
    install(root)
    unit = (root / UNITS / "redis-server.service.d/waitroom.conf").read_text(encoding="utf-8")
    (configuration,) = re.findall(r"^ExecStart=\S+ (\S+)", unit, re.MULTILINE)
    assert (root / configuration.lstrip("/")).is_file()
    text = (root / configuration.lstrip("/")).read_text(encoding="utf-8")
    (users,) = re.findall(r"^aclfile (\S+)", text, re.MULTILINE)
    password = (root / CONFIG / "redis-password").read_text(encoding="ascii").strip()
    acl = (root / users.lstrip("/")).read_text(encoding="utf-8")
    assert f"#{hashlib.sha256(password.encode()).hexdigest()} " in acl
    assert password not in acl


def test_the_users_of_redis_keep_their_passwords_and_get_what_is_new(root: Path) -> None:
    """What they may do comes from this tree, hashes and further users from the file; no password is lost."""
    install(root)
    acl, new = root / "etc/redis/users.acl", "#" + "e" * 64
    first = acl.read_text()
    (own,) = re.findall(r"^user waitroom on (#[0-9a-f]{64}) ", first, re.MULTILINE)
    edited = re.sub(
        r"^user waitroom .*$", f"user waitroom on {own} {new} ~waitroom:* -@all +ping", first, flags=re.MULTILINE
    )
    edited = re.sub(r"^user replica on #0{64}", f"user replica on {new}", edited, flags=re.MULTILINE)
    acl.write_text(edited + "user mine on #" + "f" * 64 + " ~* +@read\n")
    install(root)
    found = {line.split()[1]: line for line in acl.read_text().splitlines()}
    before = {line.split()[1]: line for line in first.splitlines()}
    assert found["waitroom"] == before["waitroom"].replace(own, f"{own} {new}")
    assert found["replica"].startswith(f"user replica on {new} ")
    assert found["mine"] == "user mine on #" + "f" * 64 + " ~* +@read"
    assert found["default"] == "user default off"
    (root / CONFIG / "redis-password").write_text("another\n")
    install(root)
    third = f"#{hashlib.sha256(b'another').hexdigest()}"
    assert f"user waitroom on {own} {new} {third} " in acl.read_text()
    assert "nothing had to be changed" in install(root)


def test_the_settings_of_redis_are_the_operators(root: Path) -> None:
    """Memory and addresses that were set by hand stay."""
    install(root)
    file = root / "etc/redis/waitroom.conf"
    file.write_text(file.read_text().replace("maxmemory 1gb", "maxmemory 2gb"))
    assert "keep    /etc/redis/waitroom.conf" in install(root)
    assert "maxmemory 2gb" in file.read_text()


def test_no_secret_is_ever_printed(root: Path) -> None:
    """Neither what is made nor what is there."""
    said = install(root) + install(root) + install(root, "--dry-run") + run(root, "--rollback")
    (undone,) = (root / BACKUPS).glob("*.undone/undone")
    made = [
        *secrets_in(undone / "etc/waitroom/secrets.env"),
        (undone / "etc/waitroom/redis-password").read_text().strip(),
    ]
    assert len(made) == 3
    assert all(len(secret) >= 43 for secret in made)
    assert [secret for secret in made if secret in said] == []


def secrets_in(file: Path) -> list[str]:
    """The secret of each line."""
    return [re.split("[=:]", line)[-1] for line in file.read_text(encoding="ascii").splitlines()]


def test_twice_is_as_good_as_once(root: Path) -> None:
    """The second run changes nothing, not even a time, and says so."""
    install(root)
    before = state(root)
    assert "nothing had to be changed" in install(root)
    assert state(root) == before
    assert len(backups(root)) == 1


def test_a_dry_run_does_nothing(root: Path) -> None:
    """It tells of each file and touches none, before and after."""
    before = state(root)
    said = install(root, "--dry-run")
    assert "make    /etc/waitroom/secrets.env" in said
    assert state(root) == before
    assert not (root / "var").exists()
    install(root)
    before = state(root)
    assert "undo    made /etc/waitroom/secrets.env" in run(root, "--rollback", "--dry-run")
    assert state(root) == before


def test_undoing_the_first_installation_leaves_no_trace(root: Path) -> None:
    """What was not there is gone again; the secrets are not lost but kept where only root reads."""
    before = state(root)
    install(root)
    assert state(root) != before
    run(root, "--rollback")
    assert state(root) == before
    (folder,) = (root / BACKUPS).glob("*.undone")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "undone/etc/waitroom/secrets.env").is_file()


def test_what_was_changed_is_kept_and_comes_back(root: Path) -> None:
    """Files that differ are copied aside with mode, owner and time before they are replaced."""
    for name in ("waitroom.service", "redis-server.service.d/waitroom.conf"):
        file = root / UNITS / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("# made by hand\n")
        file.chmod(0o640)
        os.utime(file, (1_000_000_000, 1_000_000_000))
    before = state(root)
    said = install(root)
    assert "replace /etc/systemd/system/waitroom.service" in said
    (backup,) = backups(root)
    assert (backup / "files/etc/systemd/system/waitroom.service").read_text() == "# made by hand\n"
    assert "changed\t/etc/systemd/system/waitroom.service" in (backup / "manifest").read_text()
    run(root, "--rollback")
    assert state(root) == before


def test_settings_and_secrets_that_exist_are_never_touched(root: Path) -> None:
    """An operator's files stay as they are, also when everything else is brought up to date."""
    install(root)
    toml, env = root / CONFIG / "waitroom.toml", root / CONFIG / "secrets.env"
    toml.write_text(toml.read_text() + "\n# mine\n")
    env.write_text(env.read_text().replace("k1:", "k2:" + "n" * 43 + ",k1:"))
    (root / UNITS / "waitroom.service").write_text("# an older version\n")
    kept = [toml.read_bytes(), env.read_bytes()]
    said = install(root)
    assert "keep    /etc/waitroom/waitroom.toml" in said
    assert "keep    /etc/waitroom/secrets.env" in said
    assert [toml.read_bytes(), env.read_bytes()] == kept
    assert len(backups(root)) == 2


def test_undoing_goes_back_one_by_one(root: Path) -> None:
    """Each --rollback undoes one installation, the newest first; then there is nothing left to undo."""
    states = [state(root)]
    install(root, "--no-redis")
    states.append(state(root))
    install(root)
    states.append(state(root))
    (root / UNITS / "waitroom@.service").write_text("# changed\n")
    changed = state(root)
    install(root)
    for expected in (changed, states[1], states[0]):
        run(root, "--rollback")
        if expected is changed:
            assert state(root) == changed
            (root / UNITS / "waitroom@.service").write_bytes((SYSTEMD / "waitroom@.service").read_bytes())
        else:
            assert _timeless(state(root)) == _timeless(expected)
    assert "nothing to undo" in run(root, "--rollback", code=1)


def _timeless(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without times, which a test that writes a file itself cannot keep."""
    return {name: about[:4] + about[5:] if about[0] == "file" else about for name, about in found.items()}


def test_what_an_operator_changed_since_survives_undoing(root: Path) -> None:
    """Undoing takes an edited file away, but keeps the edit; a folder with something else in it stays."""
    install(root)
    (root / CONFIG / "waitroom.toml").write_text("# much work\n")
    (root / CONFIG / "notes").write_text("mine\n")
    said = run(root, "--rollback")
    assert "stays   /etc/waitroom/" in said
    assert (root / CONFIG / "notes").read_text() == "mine\n"
    (kept,) = (root / BACKUPS).glob("*.undone/undone/etc/waitroom/waitroom.toml")
    assert kept.read_text() == "# much work\n"


def test_an_installation_that_broke_off_can_be_undone(root: Path) -> None:
    """It says where it stopped, and what it had done by then is undone."""
    (root / UNITS / "waitroom@.service").mkdir()
    before = state(root)
    said = install(root, code=1)
    assert "waitroom@.service is not a file" in said
    assert "lists the changes so far, and --rollback undoes them" in said
    assert (root / UNITS / "waitroom.service").exists()
    run(root, "--rollback")
    assert state(root) == before


def test_a_secret_that_others_may_read_is_not_accepted(root: Path) -> None:
    """The installer does not go on as if all were well."""
    install(root)
    (root / CONFIG / "secrets.env").chmod(0o644)
    assert "secrets.env can be read by others" in install(root, code=1)


def test_a_link_in_the_way_is_not_written_through(root: Path) -> None:
    """Replacing a link's target would change a file that nobody named."""
    elsewhere = root / "elsewhere"
    elsewhere.write_text("other\n")
    (root / UNITS / "waitroom.service").symlink_to(elsewhere)
    assert "is a symbolic link" in install(root, code=1)
    assert elsewhere.read_text() == "other\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prefix", "relative"], "absolute path"),
        (["--prefix", "/nowhere/at/all"], "not a folder"),
        (["--wheel", "/nowhere.whl"], "not a file"),
        (["--wheel"], "needs a value"),
        (["--force"], "unknown option --force"),
        (["--python", "/bin/false"], "not Python 3.11 or newer"),
    ],
)
def test_faults_are_said_in_one_sentence(root: Path, options: list[str], message: str) -> None:
    """And nothing is done."""
    before = state(root)
    assert message in run(root, *options, code=1)
    assert state(root) == before


def test_two_at_once_do_not_mix(root: Path) -> None:
    """The second one says so and changes nothing."""
    install(root)
    lock = root / BACKUPS / "lock"
    lock.write_text("1\n")
    assert "seems to be under way" in install(root, code=1)
    lock.unlink()
    install(root)
    assert not lock.exists()


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_program_is_installed_replaced_and_brought_back(root: Path, image: Image, tmp_path: Path) -> None:
    """From a wheel: a folder for each version, a link to the newest, settings checked by it, the old one on undo."""
    (wheel,) = image.at("/dist").glob("*.whl")
    with_program = ("--wheel", str(wheel), "--python", str(image.at("/opt/waitroom/bin/python")))
    borrowed = _dependencies(image, tmp_path / "borrowed")
    said = run(root, *with_program, variables=borrowed)
    assert "sound   settings" in said
    link = root / "opt/waitroom"
    first = os.readlink(link)
    command = [str(link / "bin/waitroom"), "--version"]
    version = subprocess.run(command, check=True, capture_output=True, text=True, env=borrowed)
    assert version.stdout == f"waitroom {__version__}\n"
    assert "same    /opt/waitroom" in run(root, *with_program, variables=borrowed)

    # A setting that the program refuses is found before the service is.
    toml = root / CONFIG / "waitroom.toml"
    sound = toml.read_text()
    toml.write_text(sound.replace("capacity = 500", "capacity = -1"))
    assert "rooms.shop.capacity" in run(root, *with_program, code=1, variables=borrowed)
    toml.write_text(sound)

    # What cannot be installed changes nothing that runs.
    broken = tmp_path / f"waitroom-{__version__}-py3-none-any.whl"
    broken.write_bytes(b"no wheel")
    said = run(root, *with_program, "--wheel", str(broken), code=1, variables=borrowed)
    assert "pip could not install" in said
    assert os.readlink(link) == first
    run(root, "--rollback")
    assert os.readlink(link) == first
    assert {path.name for path in (root / "opt").iterdir()} == {"waitroom", first}

    run(root, "--rollback")
    assert not (root / "opt").exists()


def _dependencies(image: Image, folder: Path) -> dict[str, str]:
    """Variables by which a new environment finds the image's packages, all but waitroom, and asks no index for them."""
    (site,) = image.at("/opt/waitroom").glob("lib/python*/site-packages")
    folder.mkdir()
    for package in site.iterdir():
        if not package.name.startswith("waitroom"):
            (folder / package.name).symlink_to(package)
    return {"PYTHONPATH": str(folder), "PIP_NO_INDEX": "1", "PIP_NO_COMPILE": "1"}
