#!/bin/sh
# Installs what the tests use beyond Python packages: Redis, nginx, HAProxy, Chromium, wrk, openssl, libfaketime, and what
# judges the files of deploy/ (promtool, shellcheck, systemd-analyze), and ip, for the machines on which documents are
# tried. Debian as root only. Elsewhere, and where it fails, the tests say what they miss (a skip here, a failure where
# CI=true).
missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v nginx >/dev/null || missing="$missing nginx"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing="$missing chromium"
command -v wrk >/dev/null || missing="$missing wrk"
command -v openssl >/dev/null || missing="$missing openssl"
command -v promtool >/dev/null || missing="$missing prometheus"
command -v faketime >/dev/null || missing="$missing faketime"
command -v shellcheck >/dev/null || missing="$missing shellcheck"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v ip >/dev/null || missing="$missing iproute2"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing for the tests:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Installed packages must not start services: the tests start their own servers on their own ports.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=$policy; }
  apt-get update -qq
  # Without a window Chromium takes a third of the CPU time.
  apt-cache show chromium-headless-shell >/dev/null 2>&1 &&
    missing=$(echo "$missing" | sed 's/\bchromium\b/chromium-headless-shell/')
  # shellcheck disable=SC2086  # a list of packages
  apt-get install -y -qq --no-install-recommends $missing >/dev/null || echo "could not install:$missing"
  [ -z "$made" ] || rm -f "$made"
else
  echo "not installed, tests that need them are skipped:$missing"
fi
