"""Is the operator well? Its process, queue, requests, watches, and its reading of results."""

from tools.generate.dashboards.grafana import Json, Panel, label_variable, query, timeseries, values
from tools.generate.dashboards.grafana import dashboard as grafana_dashboard
from tools.generate.dashboards.queries import CLUSTER, quantiles, rate

OURS = f'{CLUSTER},job=~"$job"'
QUEUE = f'{OURS},name="unlearningexperiment"'
CONTROLLER = f'{OURS},controller="unlearningexperiment"'


def dashboard() -> Json:
    variables = [
        label_variable("cluster", "cluster", "supreme_build_info"),
        label_variable("job", "job", f"supreme_build_info{{{CLUSTER}}}"),
    ]
    rows = {
        "Process": _process(),
        "Queue": _queue(),
        "Reconciliation": _reconciliation(),
        "API server": _api_server(),
        "Results": _results(),
    }
    return grafana_dashboard("operator", "SUPREME / Operator", variables, rows)


def _process() -> list[Panel]:
    started = f"min(process_start_time_seconds{{{OURS}}})"
    return [
        values("Active operators", query(f"sum(supreme_leader{{{OURS}}})")),
        values(
            "Version", query(f"supreme_build_info{{{OURS}}}", "{{version}} {{revision}}"), unit=""
        ),
        values("Uptime", query(f"time() - {started}"), unit="s"),
        values("Experiments", query(f"sum(supreme_experiments{{{CLUSTER}}})")),
        values(
            "Experiments not shown",
            query(f"max(supreme_experiments_not_shown{{{OURS}}})"),
            about="Experiments without metrics of their own; see --metrics-experiments.",
        ),
        values(
            "Running experiments", query(f'sum(supreme_experiments{{{CLUSTER},phase="Running"}})')
        ),
        timeseries(
            "CPU",
            query(rate("process_cpu_seconds_total", by="instance", where=OURS), "{{instance}}"),
            about="CPU cores in use.",
        ),
        timeseries(
            "Memory",
            query(f"process_resident_memory_bytes{{{OURS}}}", "{{instance}}"),
            unit="bytes",
            about="Resident memory without the workers that read results.",
        ),
        timeseries(
            "Open files",
            query(f"process_open_fds{{{OURS}}}", "{{instance}}"),
            query(f"process_max_fds{{{OURS}}}", "most of {{instance}}"),
        ),
    ]


def _queue() -> list[Panel]:
    return [
        timeseries("Waiting keys", query(f"workqueue_depth{{{QUEUE}}}", "{{instance}}")),
        timeseries(
            "Added and repeated keys",
            query(rate("workqueue_adds_total", by="job", where=QUEUE), "added"),
            query(rate("workqueue_retries_total", by="job", where=QUEUE), "tried again"),
            unit="ops",
        ),
        timeseries(
            "Slowest worker",
            query(
                f"workqueue_longest_running_processor_seconds{{{QUEUE}}}", "slowest of {{instance}}"
            ),
            query(f"workqueue_unfinished_work_seconds{{{QUEUE}}}", "all of {{instance}}"),
            unit="s",
        ),
        timeseries(
            "Waiting time of keys",
            *quantiles("workqueue_queue_duration_seconds", where=QUEUE),
            unit="s",
        ),
        timeseries(
            "Processing time of keys",
            *quantiles("workqueue_work_duration_seconds", where=QUEUE),
            unit="s",
        ),
        timeseries(
            "Workers",
            query(f"controller_runtime_active_workers{{{CONTROLLER}}}", "that work"),
            query(f"controller_runtime_max_concurrent_reconciles{{{CONTROLLER}}}", "all"),
        ),
    ]


def _reconciliation() -> list[Panel]:
    return [
        timeseries(
            "Reconciliations",
            query(
                rate("controller_runtime_reconcile_total", by="result", where=CONTROLLER),
                "{{result}}",
            ),
            unit="ops",
            stacked=True,
        ),
        timeseries(
            "Errors",
            query(
                rate("controller_runtime_reconcile_errors_total", by="instance", where=CONTROLLER),
                "{{instance}}",
            ),
            unit="ops",
        ),
        timeseries(
            "Duration of reconciliations",
            *quantiles("controller_runtime_reconcile_time_seconds", where=CONTROLLER),
            unit="s",
        ),
    ]


def _api_server() -> list[Panel]:
    told = f"max by (resource) (supreme_watch_last_event_timestamp_seconds{{{OURS}}})"
    return [
        timeseries(
            "Requests by status code",
            query(rate("supreme_kube_requests_total", by="code", where=OURS), "{{code}}"),
            unit="reqps",
            about="Code 0 is no answer.",
            stacked=True,
        ),
        timeseries(
            "Requests by resource",
            query(
                rate("supreme_kube_requests_total", by="verb, resource", where=OURS),
                "{{verb}} {{resource}}",
            ),
            unit="reqps",
        ),
        timeseries(
            "Duration of requests",
            *quantiles("supreme_kube_request_duration_seconds", by="verb", where=OURS),
            unit="s",
        ),
        timeseries(
            "Delay of writes",
            *quantiles("rest_client_rate_limiter_duration_seconds", by="verb", where=OURS),
            unit="s",
            about="Delay by the limit --writes-per-second.",
        ),
        timeseries(
            "Time since the last event of a watch",
            query(
                f"time() - {told}",
                "{{resource}}",
            ),
            unit="s",
        ),
        timeseries(
            "Changes that the watches missed",
            query(
                f"sum by (resource) (increase(supreme_watch_lost_changes_total{{{OURS}}}[10m]))",
                "{{resource}}",
            ),
            about="Changes in ten minutes that only a list delivered. Should stay at 0.",
        ),
    ]


def _results() -> list[Panel]:
    return [
        timeseries(
            "Duration of checks and of publishing",
            *quantiles("supreme_aggregation_duration_seconds", by="task", where=OURS, over="10m"),
            unit="s",
        ),
        timeseries(
            "Failed checks and publishing",
            query(
                f"sum by (reason) (increase(supreme_aggregation_errors_total{{{OURS}}}[10m]))",
                "{{reason}}",
            ),
            about="Failed tries in ten minutes.",
        ),
        timeseries(
            "Requests for progress",
            query(rate("supreme_s3_requests_total", by="code", where=OURS), "{{code}}"),
            unit="reqps",
            about="Requests to stores. Code 404 is a seed without progress yet, 0 is no answer.",
        ),
        timeseries(
            "Created children",
            query(
                f"sum by (backend) (increase(supreme_children_created_total{{{OURS}}}[10m]))",
                "{{backend}}",
            ),
            about="Children created in ten minutes.",
        ),
    ]
