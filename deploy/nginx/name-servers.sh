#!/bin/sh
# Reads /etc/resolv.conf, says nginx's `resolver` line for it: the name servers of the engine or cluster that runs this
# container, whichever that is. Used by compose.yaml and by the gate of deploy/kubernetes:
#
#     name-servers.sh </etc/resolv.conf >/tmp/resolver.conf
set -eu

servers=$(awk '$1 == "nameserver" && $2 !~ /%/ { print ($2 ~ /:.*:/ ? "[" $2 "]" : $2) }' | tr '\n' ' ')
[ -n "$servers" ] || { echo "name-servers.sh: no nameserver was given" >&2; exit 1; }
echo "resolver ${servers}valid=1s ipv6=off;"
