#!/bin/sh
# Makes prometheus-rule.yaml anew of ../prometheus/alerts.yml. Run it after a change there.
set -eu
cd "$(dirname "$0")"
head=$(sed '/^spec:$/q' prometheus-rule.yaml)
{ printf '%s\n' "$head"; sed '/./s/^/  /' ../prometheus/alerts.yml; } >prometheus-rule.yaml
