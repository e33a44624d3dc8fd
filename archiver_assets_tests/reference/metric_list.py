"""The metrics that `archiver metrics` serves, as the exporter declares them.

What belongs here: that list. What does not: where the numbers come from, which the page says.
"""

from prometheus_client.core import Metric

from archiver_assets.telemetry.exposition import TABLE, own_metrics, run_metrics, table_metrics
from archiver_assets.telemetry.figures import Figures
from archiver_assets.telemetry.subjects import Subjects
from archiver_assets_tests.reference.parts import REFERENCE, Part, table


def metrics() -> str:
    """Return every metric with its type, labels and meaning."""
    figures = Figures(Subjects(None))
    own = own_metrics(ready=True, events_read=0, last_event_at=0.0, scrapes=0, scrape_seconds=0.0)
    declared = [*table_metrics(figures), *run_metrics(figures), *own]
    return table(
        ("name", "type", "labels", "meaning"),
        [(f"`{each.name}{'_total' * (each.type == 'counter')}`", each.type, _labels(each), each.documentation) for each in declared],
    )


def _labels(metric: Metric) -> str:
    names = set(getattr(metric, "_labelnames", ())) | {name for sample in metric.samples for name in sample.labels}
    own = [f"`{name}`" for name in sorted(names - set(TABLE))]
    return ", ".join(["table"] * names.issuperset(TABLE) + own)


PARTS = (Part(REFERENCE / "metrics.md", "metrics", metrics),)
