#!/bin/sh
# Tells a Slack channel of each epoch and of the end of a run (needs jq and curl):
#
#   SLACK_URL=https://hooks.slack.com/services/... imsuper start --data-dir data --on-event examples/on-event/slack.sh
jq -c 'select(.event | test("^(epoch.ended|run.finished|run.ended)$")) | {text: "\(.run): \(.event) \(.epoch // "") top-1 \(.val_top1 // "-")"}' |
  while read -r body; do curl -fsS -H 'Content-Type: application/json' -d "$body" "${SLACK_URL:?}"; done
