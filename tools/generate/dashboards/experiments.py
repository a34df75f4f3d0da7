"""All experiments: where they stand, how long seeds wait and take, what is lost."""

from tools.generate.dashboards.grafana import (
    Json,
    Panel,
    label_variable,
    query,
    table,
    timeseries,
    values,
)
from tools.generate.dashboards.grafana import dashboard as grafana_dashboard
from tools.generate.dashboards.queries import CLUSTER, gpus, quantiles

OURS = f'{CLUSTER},namespace=~"$namespace"'


def dashboard() -> Json:
    variables = [
        label_variable("cluster", "cluster", "supreme_build_info"),
        label_variable("namespace", "namespace", f"supreme_experiments{{{CLUSTER}}}"),
    ]
    rows = {"Now": _now(), "Seeds": _seeds(), "GPUs": _gpus()}
    return grafana_dashboard("experiments", "SUPREME / Experiments", variables, rows)


def _now() -> list[Panel]:
    of = "namespace, experiment"
    seeds = f"supreme_experiment_seeds{{{OURS}}}"
    started = f"supreme_experiment_start_timestamp_seconds{{{OURS}}}"
    completed = f"supreme_experiment_completion_timestamp_seconds{{{OURS}}}"
    finished = f"sum(increase(supreme_seeds_finished_total{{{OURS}%s}}[$__range]))"
    ended = f"increase(supreme_experiments_finished_total{{{OURS}}}[1h])"
    succeeded = finished % ',result="succeeded"'
    columns = {
        "Experiment": f"max by ({of}, phase, dataset, model) (supreme_experiment_info{{{OURS}}})",
        "Seeds done": f'max by ({of}) (supreme_experiment_seeds{{{OURS},phase="Succeeded"}})',
        "Seeds failed": f'max by ({of}) (supreme_experiment_seeds{{{OURS},phase="Failed"}})',
        "Seeds": f"sum by ({of}) (max by ({of}, phase) ({seeds}))",
        "Time": f"max by ({of}) ({completed} - {started} or time() - {started})",
    }
    return [
        *(
            values(phase, query(f'sum(supreme_experiments{{{OURS},phase="{phase}"}})'))
            for phase in ("Pending", "Queued", "Running", "Succeeded", "Failed")
        ),
        values(
            "Success rate of seeds",
            query(f"{succeeded} / {finished % ''}"),
            unit="percentunit",
            about="Share of the seeds that ended in the selected time.",
        ),
        table("Experiments", columns, hidden=["Experiment"], units={"Time": "s"}),
        timeseries(
            "Experiments by phase",
            query(f"sum by (phase) (supreme_experiments{{{OURS}}})", "{{phase}}"),
            stacked=True,
            width=12,
        ),
        timeseries(
            "Finished experiments",
            query(
                f"sum by (result, reason) ({ended})",
                "{{result}} {{reason}}",
            ),
            about="Experiments that ended in an hour.",
            width=12,
        ),
    ]


def _seeds() -> list[Panel]:
    return [
        timeseries(
            "Finished seeds",
            query(
                f"sum by (result, reason) (increase(supreme_seeds_finished_total{{{OURS}}}[1h]))",
                "{{result}} {{reason}}",
            ),
            about="Seeds that ended in an hour.",
        ),
        timeseries(
            "Waiting time of attempts",
            *quantiles("supreme_seed_queue_seconds", where=OURS, over="1h"),
            unit="s",
            about="Time from creation to start, over an hour.",
        ),
        timeseries(
            "Duration of seeds",
            *quantiles("supreme_seed_duration_seconds", by="backend", where=OURS, over="1h"),
            unit="s",
            about="Duration of the last attempt, over an hour.",
        ),
        timeseries(
            "Duration of experiments",
            *quantiles("supreme_experiment_duration_seconds", where=OURS, over="1d"),
            unit="s",
            about="Time from the first child to the end, over a day.",
        ),
        timeseries(
            "Retries",
            query(
                f"sum by (reason) (increase(supreme_seed_retries_total{{{CLUSTER}}}[1h]))",
                "{{reason}}",
            ),
            about="Attempts in an hour, in all namespaces.",
        ),
        timeseries(
            "Disruptions",
            query(
                f"sum by (reason) (increase(supreme_seed_disruptions_total{{{CLUSTER}}}[1h]))",
                "{{reason}}",
            ),
            about="Attempts in an hour, in all namespaces.",
        ),
    ]


def _gpus() -> list[Panel]:
    used = gpus("DCGM_FI_DEV_GPU_UTIL", OURS)
    minutes = f"sum_over_time((({used}) >= bool 0)[$__range:1m])"
    return [
        timeseries(
            "GPUs of experiments",
            query(f"count by (namespace, experiment) ({used})", "{{namespace}}/{{experiment}}"),
            width=12,
            stacked=True,
        ),
        timeseries(
            "GPU utilisation",
            query(f"avg by (namespace, experiment) ({used})", "{{namespace}}/{{experiment}}"),
            unit="percent",
            width=12,
        ),
        table(
            "GPU hours",
            {"GPU hours": f"sum by (namespace, experiment) ({minutes}) / 60"},
            about="GPU hours in the selected time.",
        ),
    ]
