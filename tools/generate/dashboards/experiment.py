"""One experiment: its seeds over time, its primary metric, its trainers and their GPUs."""

from tools.generate.dashboards.grafana import (
    Json,
    Panel,
    label_variable,
    query,
    table,
    timeline,
    timeseries,
    values,
)
from tools.generate.dashboards.grafana import dashboard as grafana_dashboard
from tools.generate.dashboards.queries import CLUSTER, gpus

NAMESPACE = f'{CLUSTER},namespace=~"$namespace"'
OURS = f'{NAMESPACE},experiment=~"$experiment"'


def dashboard() -> Json:
    variables = [
        label_variable("cluster", "cluster", "supreme_build_info"),
        label_variable(
            "namespace", "namespace", f"supreme_experiment_info{{{CLUSTER}}}", all_of_them=False
        ),
        label_variable(
            "experiment", "experiment", f"supreme_experiment_info{{{NAMESPACE}}}", all_of_them=False
        ),
    ]
    rows = {
        "Experiment": _experiment(),
        "Trainers": _trainers(),
        "GPUs": _gpus(),
    }
    return grafana_dashboard("experiment", "SUPREME / Experiment", variables, rows)


def _experiment() -> list[Panel]:
    seeds = f"max by (phase) (supreme_experiment_seeds{{{OURS}}})"
    started = f"max(supreme_experiment_start_timestamp_seconds{{{OURS}}})"
    completed = f"max(supreme_experiment_completion_timestamp_seconds{{{OURS}}})"
    objective = 'max by (scenario, method, metric) (supreme_experiment_objective{%s,stat="%s"})'
    return [
        values("Phase", query(f"supreme_experiment_info{{{OURS}}} == 1", "{{phase}}"), unit=""),
        values(
            "Seeds done",
            query(f'max(supreme_experiment_seeds{{{OURS},phase="Succeeded"}}) / sum({seeds})'),
            unit="percentunit",
        ),
        values("Time", query(f"{completed} - {started} or time() - {started}"), unit="s"),
        values("Retries", query(f"max(supreme_experiment_retries{{{OURS}}})")),
        values("Disruptions", query(f"max(supreme_experiment_disruptions{{{OURS}}})")),
        values("Running seeds", query(f'max(supreme_experiment_seeds{{{OURS},phase="Running"}})')),
        table(
            "Primary metric",
            {
                "Mean": objective % (OURS, "mean"),
                "Low": objective % (OURS, "low"),
                "High": objective % (OURS, "high"),
            },
            about="Mean over the seeds with its 95 % interval, which takes two seeds.",
            width=12,
        ),
        timeseries("Seeds by phase", query(seeds, "{{phase}}"), stacked=True, width=12),
        timeseries(
            "Retries and disruptions",
            query(f"max(supreme_experiment_retries{{{OURS}}})", "retries"),
            query(f"max(supreme_experiment_disruptions{{{OURS}}})", "disruptions"),
            width=12,
        ),
        timeseries(
            "Primary metric over time",
            query(
                f'max by (scenario, method) (supreme_experiment_objective{{{OURS},stat="mean"}})',
                "{{method}} · {{scenario}}",
            ),
            about="Mean over the seeds, updated with each summary.",
            width=12,
        ),
    ]


def _trainers() -> list[Panel]:
    pod = "namespace, pod, seed"
    done = f"supreme_trainer_stages_done{{{OURS}}} / supreme_trainer_stages{{{OURS}}}"
    return [
        timeline(
            "Seeds",
            query(
                f"max by (seed) ({done})",
                "seed {{seed}}",
            ),
            about="Times at which a seed was computed, and the share of its stages that were done.",
        ),
        table(
            "Stages in progress",
            {
                "Done": f"max by ({pod}, stage, scenario, method)"
                f" (supreme_trainer_stage_progress_ratio{{{OURS}}} * on ({pod})"
                f" group_left (stage, scenario, method) supreme_trainer_stage_info{{{OURS}}})",
            },
            hidden=["namespace"],
            units={"Done": "percentunit"},
            width=12,
        ),
        timeseries(
            "Epoch",
            query(f"max by ({pod}) (supreme_trainer_epoch{{{OURS}}})", "seed {{seed}}"),
            about="Epoch of the stage in progress.",
            width=12,
        ),
        timeseries(
            "Loss", query(f"max by ({pod}) (supreme_trainer_loss{{{OURS}}})", "seed {{seed}}")
        ),
        timeseries(
            "Images per second",
            query(
                f"sum by ({pod}) (rate(supreme_trainer_images_total{{{OURS}}}[$__rate_interval]))",
                "seed {{seed}}",
            ),
            about="Images of training steps; 0 while a model is evaluated.",
        ),
        timeseries(
            "Memory of rank 0",
            query(f"max by ({pod}) (supreme_trainer_peak_memory_bytes{{{OURS}}})", "seed {{seed}}"),
            unit="bytes",
            about="Peak of a stage: allocated on a GPU, or resident on a CPU.",
        ),
    ]


def _gpus() -> list[Panel]:
    """Panels of DCGM's exporter. What a profiler tells is not there on every card, nor with MIG."""
    name = "seed {{seed}} GPU {{gpu}}"
    return [
        timeseries(
            "GPU utilisation", query(gpus("DCGM_FI_DEV_GPU_UTIL", OURS), name), unit="percent"
        ),
        timeseries("GPU memory", query(gpus("DCGM_FI_DEV_FB_USED", OURS), name), unit="mbytes"),
        timeseries("Power", query(gpus("DCGM_FI_DEV_POWER_USAGE", OURS), name), unit="watt"),
        timeseries(
            "Tensor cores",
            query(gpus("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", OURS), name),
            unit="percentunit",
        ),
        timeseries(
            "GPU memory interface",
            query(gpus("DCGM_FI_PROF_DRAM_ACTIVE", OURS), name),
            unit="percentunit",
        ),
        timeseries(
            "Driver errors",
            query(gpus("DCGM_FI_DEV_XID_ERRORS", OURS), name),
            about="Number of the last Xid error; 0 is none.",
        ),
    ]
