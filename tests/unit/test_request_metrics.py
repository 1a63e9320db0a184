"""Responses of the fast path in the metrics of serving."""

from prometheus_client import generate_latest

from serving.http.monitoring import RequestMetrics
from tests.integration.published import until

COUNT = b'gridgate_serving_request_seconds_count{route="/r"} 3.0'


def test_repeated_responses_are_added_up_without_being_asked_for() -> None:
    """Nor does it take a database, which another thread may wait for."""
    metrics = RequestMetrics()
    stop = metrics.start_adding_up()
    try:
        for status, duration_s in ((200, 0.000_01), (200, 100.0), (304, 0.001)):
            metrics.answered_from_cache("/r", status, duration_s)
        until(lambda: COUNT in generate_latest(metrics.registry))
    finally:
        stop()
    text = generate_latest(metrics.registry).decode()
    for line in (
        'gridgate_serving_requests_total{method="GET",route="/r",status="200"} 2.0',
        'gridgate_serving_requests_total{method="GET",route="/r",status="304"} 1.0',
        'gridgate_serving_request_seconds_bucket{le="0.0005",route="/r"} 1.0',
        'gridgate_serving_request_seconds_bucket{le="0.001",route="/r"} 2.0',
        'gridgate_serving_request_seconds_bucket{le="30.0",route="/r"} 2.0',
    ):
        assert line in text
