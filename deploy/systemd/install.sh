#!/bin/sh
# Installs waitroom as a service under systemd, with a Redis of its own settings beside it. Safe to run again: what is
# as it should be stays, what differs is kept in a backup folder first, keys and settings that exist are never touched.
set -eu
umask 022

usage() {
  cat <<'USAGE'
usage: install.sh [options]            install, or bring up to date
       install.sh --rollback           undo the last installation that changed something, again for the one before

  --dry-run        say what would be done and do nothing
  --prefix DIR     put everything below DIR, start nothing (also: DESTDIR=DIR), for tests and for a look
  --wheel FILE     install this wheel of waitroom instead of building one from this tree
  --python FILE    the Python to use, 3.11 or newer (default: python3)
  --no-program     leave /opt/waitroom as it is
  --no-redis       leave Redis as it is: it runs elsewhere, or you manage it in another way
  --help           this text

It installs
  /opt/waitroom                     the program, a link to a folder of its own for each version
  /etc/waitroom/waitroom.toml       settings, yours to change
  /etc/waitroom/secrets.env         admin key and signing key, made if missing, mode 0600
  /etc/waitroom/redis-password      the password of Redis, made if missing, mode 0600
  /etc/systemd/system/              waitroom.service, waitroom@.service, redis-server.service.d/waitroom.conf
  /etc/redis/waitroom.conf          what the drop-in starts redis-server with, yours to change
  /etc/redis/users.acl              the users, their rights and the hashes of their passwords
and notes each change in /var/backups/waitroom/TIME/manifest, beside a copy of what was there before.
USAGE
}

say() { printf '%s\n' "$*"; }

fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

# What is asked for.

root=${DESTDIR:-}
dry_run=
rollback=
program=yes
redis=yes
wheel=
python=python3

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry_run=yes ;;
    --rollback) rollback=yes ;;
    --no-program) program= ;;
    --no-redis) redis= ;;
    --prefix | --wheel | --python)
      [ $# -ge 2 ] || fail "$1 needs a value: see --help"
      case $1 in
        --prefix) root=$2 ;;
        --wheel) wheel=$2 ;;
        --python) python=$2 ;;
      esac
      shift
      ;;
    --help)
      usage
      exit 0
      ;;
    *) fail "unknown option $1: see --help" ;;
  esac
  shift
done

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)

case $root in
  '' | /) root= ;;
  /*) [ -d "$root" ] || fail "--prefix: $root is not a folder" ;;
  *) fail "--prefix: give an absolute path, not $root" ;;
esac
if [ -z "$root" ] && [ -z "$dry_run" ] && [ "$(id -u)" != 0 ]; then
  fail "run it as root, or with --dry-run or --prefix DIR"
fi
[ -z "$wheel" ] || [ -f "$wheel" ] || fail "--wheel: $wheel is not a file"

backups=$root/var/backups/waitroom
config=$root/etc/waitroom
units=$root/etc/systemd/system
redis_config=$root/etc/redis
opt=$root/opt/waitroom

# Backups. A folder for each run that changes something, made at its first change. The manifest's lines are
# "WHAT<tab>PATH[<tab>OLD LINK]", with the path as it is without --prefix. Each is written before the change is made.

backup=
work=

clean_up() {
  code=$?
  [ -z "$work" ] || rm -rf "$work"
  [ ! -f "$backups/lock" ] || [ "$(cat "$backups/lock")" != $$ ] || rm -f "$backups/lock"
  if [ "$code" != 0 ] && [ -n "$backup" ] && [ -z "$rollback" ]; then
    say "install.sh: not finished. $backup/manifest lists the changes so far, and --rollback undoes them" >&2
  fi
  exit "$code"
}

lock() {
  mkdir -p "$backups"
  chmod 700 "$backups"
  # A link is made or not, in one step.
  printf '%s\n' $$ >"$backups/lock.$$"
  if ! ln "$backups/lock.$$" "$backups/lock" 2>/dev/null; then
    rm -f "$backups/lock.$$"
    fail "another installation seems to be under way. If not, remove $backups/lock"
  fi
  rm -f "$backups/lock.$$"
}

begin_backup() {
  [ -z "$backup" ] || return 0
  stamp=$(date -u +%Y%m%dT%H%M%SZ)
  number=1
  while [ -e "$backups/$stamp-$number" ] || [ -e "$backups/$stamp-$number.undone" ]; do number=$((number + 1)); done
  backup=$backups/$stamp-$number
  mkdir "$backup"
  chmod 700 "$backup"
}

note() {
  begin_backup
  printf '%s\t%s\t%s\n' "$1" "${2#"$root"}" "${3:-}" >>"$backup/manifest"
}

keep_copy() {
  mkdir -p "$1$(dirname "${2#"$root"}")"
  cp -p "$2" "$1${2#"$root"}"
}

# Changes. Each says what it does. With --dry-run it does nothing more.

folder() {
  [ ! -d "$1" ] || return 0
  [ -d "$(dirname "$1")" ] || folder "$(dirname "$1")"
  say "make    ${1#"$root"}/"
  [ -z "$dry_run" ] || return 0
  note made-folder "$1"
  mkdir "$1"
}

is_file_or_nothing() {
  [ ! -h "$1" ] || fail "$1 is a symbolic link: put a file in its place, or remove it"
  [ ! -e "$1" ] || [ -f "$1" ] || fail "$1 is not a file"
}

# put SOURCE MODE GROUP DESTINATION: the file is exactly this one. GROUP is - or the group that may read it.
put() {
  is_file_or_nothing "$4"
  if [ -f "$4" ] && cmp -s "$1" "$4" && [ "$(stat -c %a "$4")" = "$2" ]; then
    say "same    ${4#"$root"}"
    return 0
  fi
  folder "$(dirname "$4")"
  if [ -f "$4" ]; then
    say "replace ${4#"$root"}"
    [ -z "$dry_run" ] || return 0
    begin_backup
    keep_copy "$backup/files" "$4"
    note changed "$4"
  else
    say "make    ${4#"$root"}"
    [ -z "$dry_run" ] || return 0
    note made "$4"
  fi
  # Written aside and moved into place: a reader sees the old file or the new one.
  (umask 077 && cp "$1" "$4.new")
  [ -n "$root" ] || [ "$3" = - ] || chgrp "$3" "$4.new"
  chmod "$2" "$4.new"
  mv -f "$4.new" "$4"
}

# seed SOURCE MODE GROUP DESTINATION: only if there is none yet.
seed() {
  is_file_or_nothing "$4"
  if [ -f "$4" ]; then
    say "keep    ${4#"$root"}"
  else
    put "$@"
  fi
}

# 256 random bits in 43 characters that need no quoting anywhere.
secret() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

# Parts.

install_settings() {
  folder "$config"
  seed "$here/waitroom.toml" 644 - "$config/waitroom.toml"
  (umask 077 && printf 'WAITROOM_ADMIN_KEY=%s\nWAITROOM_SIGNING_KEYS=k1:%s\n' "$(secret)" "$(secret)" >"$work/secrets.env")
  seed "$work/secrets.env" 600 - "$config/secrets.env"
  if [ -n "$redis" ]; then
    (umask 077 && printf '%s\n' "$(secret)" >"$work/redis-password")
    seed "$work/redis-password" 600 - "$config/redis-password"
  elif [ ! -f "$config/redis-password" ]; then
    say "missing ${config#"$root"}/redis-password: put the password of your Redis there, mode 0600"
  fi
}

install_units() {
  put "$here/waitroom.service" 644 - "$units/waitroom.service"
  put "$here/waitroom@.service" 644 - "$units/waitroom@.service"
}

install_redis() {
  if [ -z "$root" ] && [ ! -f /etc/redis/redis.conf ]; then
    fail "/etc/redis/redis.conf is missing: install redis-server (apt-get install redis-server), or give --no-redis"
  fi
  password=$config/redis-password
  [ -r "$password" ] || password=$work/redis-password # a dry run has made none
  users >"$work/users.acl" || fail "deploy/redis/users.acl has no user waitroom with a password"
  seed "$tree/deploy/redis/redis.conf" 640 redis "$redis_config/waitroom.conf"
  put "$work/users.acl" 640 redis "$redis_config/users.acl"
  put "$here/redis-server.service.d/waitroom.conf" 644 - "$units/redis-server.service.d/waitroom.conf"
}

# The users of Redis. Their rights come from this tree, the hashes of their passwords and further users from the file
# that is there. The password of the instances is always among them.
users() {
  theirs=$redis_config/users.acl
  [ -f "$theirs" ] || theirs=/dev/null
  awk -v hash="#$(tr -d '\r\n' <"$password" | sha256sum | cut -d ' ' -f 1)" '
    function passwords(  i, found) {
      for (i = 3; i <= NF; i++) if ($i ~ /^[>#]/) found = found " " $i
      return found
    }
    FILENAME == ARGV[1] { if ($1 == "user") { known[$2] = passwords(); line[$2] = $0; order[++n] = $2 } next }
    {
      shipped[$2] = 1
      kept = known[$2]
      if ($2 == "waitroom" && index(kept " ", " " hash " ") == 0) kept = kept " " hash
      if (kept != "" && match($0, / #[0-9a-f]+/)) {
        $0 = substr($0, 1, RSTART - 1) kept substr($0, RSTART + RLENGTH)
        if ($2 == "waitroom") done = 1
      }
      print
    }
    END { for (i = 1; i <= n; i++) if (!(order[i] in shipped)) print line[order[i]]; exit !done }
  ' "$theirs" "$tree/deploy/redis/users.acl"
}

# What the program is made of: the same print, the same program.
fingerprint() {
  "$python" -c 'import sys; print(sys.version)'
  sha256sum <"$tree/constraints.txt"
  if [ -n "$wheel" ]; then
    sha256sum <"$wheel"
  else
    (cd "$tree" && find pyproject.toml hatch_build.py README.md LICENSE waitroom lua deploy/nginx -type f ! -name '*.pyc' |
      LC_ALL=C sort | while read -r file; do sha256sum "$file"; done)
  fi
}

install_program() {
  "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "$python is not Python 3.11 or newer with venv (on Debian: apt-get install python3-venv). Name another with --python"
  [ ! -e "$opt" ] || [ -h "$opt" ] || fail "$opt is not a link that this installer made: move it away, or give --no-program"
  fingerprint >"$work/fingerprint"
  if cmp -s "$work/fingerprint" "$opt/.fingerprint"; then
    say "same    ${opt#"$root"}"
    return 0
  fi
  say "install ${opt#"$root"}"
  [ -z "$dry_run" ] || return 0
  folder "$(dirname "$opt")"
  begin_backup
  new=$opt-${backup##*/}
  note made-tree "$new"
  "$python" -m venv "$new"
  # The two variables also pin the packages that build the wheel. Which one counts depends on the version of pip.
  PIP_CONSTRAINT=$tree/constraints.txt PIP_BUILD_CONSTRAINT=$tree/constraints.txt \
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check "${wheel:-$tree}[server]" ||
    fail "pip could not install the program: see its messages above"
  "$new/bin/waitroom" --version >/dev/null || fail "$new/bin/waitroom does not run"
  mv "$work/fingerprint" "$new/.fingerprint"
  note linked "$opt" "$(readlink "$opt" || true)"
  point "$opt" "$(basename "$new")"
}

# point LINK WHERE, in one step.
point() {
  rm -f "$1.new"
  ln -s "$2" "$1.new"
  mv -fT "$1.new" "$1"
}

# What must hold afterwards.

verify() {
  for file in secrets.env redis-password; do
    [ ! -e "$config/$file" ] || [ "$(stat -c %a "$config/$file")" = 600 ] ||
      fail "${config#"$root"}/$file can be read by others: chmod 600 it, and change the secrets in it if others may have read them"
  done
  if [ -x "$opt/bin/python" ]; then
    verify_settings || fail "the settings are not valid: correct them and run this again"
    say "sound   settings"
  fi
  if [ -z "$root" ] && command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$units/waitroom.service" || fail "systemd does not accept the units: see above"
    say "sound   units"
  fi
}

# The settings as the service will see them: the file, and the environment from the files with secrets.
verify_settings() {
  "$opt/bin/python" - "$config" <<'PYTHON'
import sys
from pathlib import Path

from waitroom.settings import sources
from waitroom.errors import SettingsError

folder = Path(sys.argv[1])
environment = {"WAITROOM_PRODUCTION": "true"}
for line in (folder / "secrets.env").read_text().splitlines():
    name, found, value = line.partition("=")
    if found and not name.lstrip().startswith("#"):
        environment[name.strip()] = value.strip().strip("'\"")
if (folder / "redis-password").exists():
    environment["WAITROOM_REDIS_PASSWORD_FILE"] = str(folder / "redis-password")
try:
    sources.load(folder / "waitroom.toml", environment=environment)
except SettingsError as error:
    sys.exit("\n".join(f"waitroom: {line}" for line in str(error).splitlines()))
for stranger in sources.strangers(environment):
    print(f"waitroom: {stranger}")
PYTHON
}

reload_units() {
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

# Undoing: the manifest of the last installation, backwards. What is taken away is kept in the folder as "undone".

undo_step() {
  target=$root$2
  case $1 in
    made | changed)
      if [ -f "$target" ]; then keep_copy "$last/undone" "$target"; fi
      if [ "$1" = made ]; then
        rm -f "$target"
      else
        cp -p "$last/files$2" "$target.new"
        mv -f "$target.new" "$target"
      fi
      ;;
    made-folder) rmdir "$target" 2>/dev/null || say "stays   $2/ (something else is in it)" ;;
    made-tree)
      case $2 in
        /opt/waitroom-*/*) fail "the manifest is damaged: $2" ;;
        /opt/waitroom-*) rm -rf "$target" ;;
        *) fail "the manifest is damaged: $2" ;;
      esac
      ;;
    linked) if [ -n "$3" ]; then point "$target" "$3"; else rm -f "$target"; fi ;;
    *) fail "the manifest is damaged: $1" ;;
  esac
}

undo() {
  last=$(find "$backups" -mindepth 1 -maxdepth 1 -name '*Z-*' ! -name '*.undone' 2>/dev/null | LC_ALL=C sort | tail -n 1)
  [ -n "$last" ] || fail "nothing to undo: no installation is noted in $backups"
  awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$last/manifest" >"$work/steps"
  tab=$(printf '\t')
  while IFS=$tab read -r what path old; do
    say "undo    $what $path"
    [ -n "$dry_run" ] || undo_step "$what" "$path" "$old"
  done <"$work/steps"
  [ -z "$dry_run" ] || return 0
  mv "$last" "$last.undone"
  reload_units
  say "undone. The files that were taken away are in $last.undone"
}

next_steps() {
  say
  say "Next: look through /etc/waitroom/waitroom.toml (public_url, the rooms), then"
  [ -z "$redis" ] || say "  systemctl restart redis-server"
  say "  WAITROOM_REDIS_PASSWORD_FILE=/etc/waitroom/redis-password /opt/waitroom/bin/waitroom check --config /etc/waitroom/waitroom.toml"
  say "  systemctl enable waitroom && systemctl restart waitroom"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d)
[ -n "$dry_run" ] || lock

if [ -n "$rollback" ]; then
  undo
  exit 0
fi
[ -z "$program" ] || install_program
install_settings
install_units
[ -z "$redis" ] || install_redis
if [ -n "$dry_run" ]; then
  say "nothing was done"
  exit 0
fi
verify
if [ -z "$backup" ]; then
  say "nothing had to be changed"
  exit 0
fi
reload_units
say "the changes are noted in $backup"
next_steps
