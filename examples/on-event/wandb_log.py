#!/usr/bin/env python3
# Logs the epochs of a run to Weights & Biases (pip install wandb; wandb login):
#
#   imsuper start --data-dir data --on-event 'python3 examples/on-event/wandb_log.py'
import json, sys

event = json.load(sys.stdin)
if event["event"] == "epoch.ended":
    import wandb  # takes seconds, so only where it is needed

    with wandb.init(project="imsuper", id=event["run"], resume="allow") as run:
        run.log({k: v for k, v in event.items() if isinstance(v, (int, float))}, step=event["epoch"])
