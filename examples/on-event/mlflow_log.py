#!/usr/bin/env python3
# Logs the epochs of a run to MLflow (pip install mlflow; MLFLOW_TRACKING_URI says where to):
#
#   imsuper start --data-dir data --on-event 'python3 examples/on-event/mlflow_log.py'
import json, sys

event = json.load(sys.stdin)
if event["event"] == "epoch.ended":
    import mlflow  # takes seconds, so only where it is needed

    mlflow.set_experiment("imsuper")
    found = mlflow.search_runs(filter_string=f"tags.imsuper = '{event['run']}'", output_format="list")
    with mlflow.start_run(run_id=found[0].info.run_id if found else None, run_name=event["run"]):
        mlflow.set_tag("imsuper", event["run"])
        mlflow.log_metrics({k: v for k, v in event.items() if isinstance(v, (int, float))}, step=event["epoch"])
