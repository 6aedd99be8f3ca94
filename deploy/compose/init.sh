#!/bin/sh
# Makes what compose.yaml wants to be given, once: keys in deploy/.env, passwords in deploy/compose/secrets.
#
#     sh deploy/compose/init.sh https://shop.example.com      the address at which visitors see the site
#
# Nothing that exists is overwritten. docs/how-to/keys.md says how to change the keys.
set -eu

[ $# -eq 1 ] || { echo "usage: init.sh ADDRESS, for instance https://shop.example.com" >&2; exit 2; }
case $1 in
  *[!a-z0-9.:/-]* | */*/*/*) wrong=yes ;;
  http://?* | https://?*) wrong= ;;
  *) wrong=yes ;;
esac
[ -z "$wrong" ] || { echo "init.sh: $1 is not an address like https://shop.example.com" >&2; exit 2; }

deploy=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
secrets=$deploy/compose/secrets
for made in "$deploy/.env" "$secrets"; do
  [ ! -e "$made" ] || { echo "init.sh: $made exists already: nothing was changed" >&2; exit 1; }
done
users=$deploy/redis/users.acl
grep -q "^user waitroom .* [>#]" "$users" || { echo "init.sh: no user waitroom with a password in $users" >&2; exit 1; }

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

umask 077
cat >"$deploy/.env" <<END
WAITROOM_PUBLIC_URL=$1
WAITROOM_ADMIN_KEY=$(random)
WAITROOM_SIGNING_KEYS=k1:$(random)
END

# The folder keeps all other users out. The containers' users, which this machine does not know, read the files.
mkdir "$secrets"
umask 022
password=$(random)
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
printf '%s\n' "$password" >"$secrets/redis-password"
sed "/^user waitroom /s/ [>#][^ ]*/ #$hash/" "$users" >"$secrets/users.acl"
random >"$secrets/grafana-password"

echo "made $deploy/.env and $secrets. Keep a copy of .env: without the signing key every visitor queues anew"
