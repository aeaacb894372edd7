"""Figures in Prometheus's text format."""

from prometheus_client.parser import text_string_to_metric_families

from pal_plugin.hosts.server.metrics import Metrics


def test_requests_audio_and_the_engine_are_counted():
    metrics = Metrics(lambda: {"running": 2, "answered": 5})
    metrics.answered("/v1/models", 200, 0.3)
    metrics.answered("/v1/models", 200, 3)
    metrics.heard(1.5)
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.values()))
            found[key] = (sample.value, family.type)
    assert found["pal_requests_total", "/v1/models", "200"] == (2, "counter")
    assert found["pal_request_seconds_bucket", "/v1/models", "0.5"] == (1, "histogram")
    assert found["pal_audio_seconds_total",] == (1.5, "counter")
    assert found["pal_engine_running",] == (2, "gauge")
    assert found["pal_engine_answered_total",] == (5, "counter")


def test_servers_beside_each_other_count_for_themselves():
    first, second = Metrics(dict), Metrics(dict)
    first.heard(1)
    assert b"pal_audio_seconds_total 0.0" in second.text()
