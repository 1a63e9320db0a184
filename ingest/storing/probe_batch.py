"""A batch that tests whether the database accepts rows; its transaction is rolled back."""

from datetime import datetime, timedelta

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch

VEN_ID = "gridgate-probe"


def probe_batch(at: datetime) -> Batch:
    """Return one message of each kind from a fictitious VEN at a time, and one that is rejected."""
    load, ts = '"loads": [{"id": "probe"}]', f'"timestamp": {at.timestamp()}'
    payloads = {
        "volttron/metering": f'{{"venId": "{VEN_ID}", {ts}, {load}}}',
        f"ven/loads/{VEN_ID}": f"{{{ts}, {load}}}",
        f"ven/status/{VEN_ID}": f'{{{ts}, "status": "online"}}',
        "": "",
    }
    messages = (Received(topic, payload.encode(), at) for topic, payload in payloads.items())
    return Batch.of(messages, timedelta(0))
