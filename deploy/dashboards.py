"""`python -m deploy.dashboards` writes `deploy/grafana/gridgate.json`: a panel for each metric.

A counter becomes a rate, a histogram its median and 99th percentile, a gauge its value; labels become lines.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from ingest.metrics import IngestMetrics
from jobs.running.metrics import AlarmConditions, Backlog, JobMetrics, RejectedSize
from schemas.db.connections import engine_for
from schemas.programs.command_line import program_parser
from serving.http.monitoring import RequestMetrics

DASHBOARD = Path(__file__).resolve().parent / "grafana" / "gridgate.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WINDOW = "[$__rate_interval]"
WIDTH, HEIGHT, PER_ROW = 8, 7, 3
UNITS = {"seconds": "s", "bytes": "bytes"}
NO_PANEL = frozenset({"gridgate_build"})
"""Metrics shown as text, not as a curve."""

OVERVIEW = (
    "gridgate_jobs_alarms_open",
    "gridgate_ingest_messages_received",
    "gridgate_jobs_lag_seconds",
    "gridgate_serving_request_seconds",
    "gridgate_ingest_rejected",
    "gridgate_ingest_subscribed",
)
"""The metrics whose panels are shown first."""


class Family(Struct, frozen=True):
    """A metric, as the programs define it."""

    name: str
    about: str
    kind: str
    labels: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.name.split("_")[1]


def families() -> list[Family]:
    """The metrics of the three programs; no database is connected."""
    engine, now = engine_for("postgresql://", "jobs"), datetime.now(UTC)
    jobs = JobMetrics().registry
    for collector in (Backlog(engine, lambda: now), RejectedSize(engine), AlarmConditions(engine)):
        jobs.register(collector)
    registries = (IngestMetrics(lambda: now).registry, jobs, RequestMetrics().registry)
    by_name = {family.name: family for registry in registries for family in _families(registry)}
    return [family for family in by_name.values() if family.name not in NO_PANEL]


def _families(registry: CollectorRegistry) -> Iterator[Family]:
    """Yield metrics, including those without samples, whose labels only their collector knows."""
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - there is no other way to list them
        describe = getattr(collector, "describe", collector.collect)
        names = getattr(collector, "_labelnames", ())
        yield from (_family(metric, tuple(names)) for metric in describe())


def _family(metric: Metric, labels: tuple[str, ...]) -> Family:
    return Family(
        metric.name, metric.documentation, metric.type, labels or tuple(getattr(metric, "_labelnames", ()))
    )


def expressions(family: Family) -> Mapping[str, str]:
    """Return PromQL expressions by legend."""
    labels = [f"exported_{label}" if label in {"job", "instance"} else label for label in family.labels]
    legend, by = " ".join(f"{{{{{label}}}}}" for label in labels), ", ".join(labels)
    match family.kind:
        case "counter":
            return {legend or "all": f"{_over('sum', by)} (rate({family.name}_total{WINDOW}))"}
        case "histogram":
            buckets = f"sum by ({', '.join(['le', *labels])}) (rate({family.name}_bucket{WINDOW}))"
            return {
                f"{name} {legend}".strip(): f"histogram_quantile({quantile}, {buckets})"
                for name, quantile in (("median", "0.5"), ("p99", "0.99"))
            }
        case _ if family.name.endswith("_timestamp_seconds"):
            return {legend or "age": f"time() - {_over('max', by)} ({family.name})"}
        case _:
            return {legend or "{{instance}}": f"max by ({by or 'instance'}) ({family.name})"}


def _over(function: str, labels: str) -> str:
    return f"{function} by ({labels})" if labels else function


def dashboard(metrics: Iterable[Family]) -> Mapping[str, object]:
    """Return Grafana's model of the dashboard."""
    by_name = {family.name: family for family in metrics}
    rows = {"Overview": [by_name[name] for name in OVERVIEW]}
    for family in by_name.values():
        rows.setdefault(family.program.capitalize(), []).append(family)
    return {
        "uid": "gridgate",
        "title": "Gridgate",
        "tags": ["gridgate"],
        "timezone": "browser",
        "schemaVersion": 38,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": _numbered(_panels(rows)),
    }


def _panels(rows: Mapping[str, list[Family]]) -> Iterator[dict[str, object]]:
    y = 0
    for title, members in rows.items():
        yield {
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": y, "w": WIDTH * PER_ROW, "h": 1},
            "panels": [],
        }
        y += 1
        for number, family in enumerate(members):
            place = {
                "x": WIDTH * (number % PER_ROW),
                "y": y + HEIGHT * (number // PER_ROW),
                "w": WIDTH,
                "h": HEIGHT,
            }
            yield _panel(family, place)
        y += HEIGHT * -(-len(members) // PER_ROW)


def _numbered(panels: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def _panel(family: Family, place: Mapping[str, int]) -> dict[str, object]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(expressions(family).items())
    ]
    return {
        "type": "timeseries",
        "title": family.about,
        "description": family.name,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": _unit(family), "min": 0}, "overrides": []},
        "targets": targets,
    }


def _unit(family: Family) -> str:
    if family.kind == "counter":
        return "cps"
    return next((unit for word, unit in UNITS.items() if family.name.endswith(word)), "short")


def as_json() -> str:
    return json.dumps(dashboard(families()), indent=1) + "\n"


def _parser() -> argparse.ArgumentParser:
    return program_parser("deploy.dashboards", "Regenerate the dashboard of Grafana.", [], [""])


if __name__ == "__main__":
    _parser().parse_args()
    DASHBOARD.write_text(as_json())
