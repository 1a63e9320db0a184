"""A batch that tests whether the database accepts rows; its transaction is rolled back."""

from datetime import datetime, timedelta

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch

VEN_ID = "gridgate-probe"


def probe_batch(at: datetime) -> Batch:
    """Messages of a made-up VEN at a time, one of each kind, and one that is refused."""
    load, ts = '"loads": [{"id": "probe"}]', f'"timestamp": {at.timestamp()}'
    payloads = {
        "volttron/metering": f'{{"venId": "{VEN_ID}", {ts}, {load}}}',
        f"ven/loads/{VEN_ID}": f"{{{ts}, {load}}}",
        f"ven/status/{VEN_ID}": f'{{{ts}, "status": "online"}}',
        "": "",
    }
    messages = (Received(topic, payload.encode(), at) for topic, payload in payloads.items())
    return Batch.of(messages, timedelta(0))
