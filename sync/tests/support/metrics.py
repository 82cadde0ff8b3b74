"""Reads an answer of /metrics."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from sync.monitoring.metrics import exposition


def samples(text: str | None = None) -> dict[tuple[str, ...], float]:
    """Return each value by metric name and label values, which are ordered by label name."""

    def parse() -> Iterator[tuple[tuple[str, ...], float]]:
        for family in text_string_to_metric_families(text or exposition().decode()):
            for sample in family.samples:
                yield (sample.name, *(value for _, value in sorted(sample.labels.items()))), sample.value

    return dict(parse())


def labels_of(text: str) -> dict[str, set[str]]:
    """Return the names of the labels of each metric that has a sample."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
