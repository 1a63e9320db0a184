"""Requests a service with the client that openapi-python-client generated, and prints the answers."""

import json
import sys
from datetime import UTC, datetime, timedelta

from gridgate_client import Client  # type: ignore[import-not-found]
from gridgate_client.api.events import (  # type: ignore[import-not-found]
    create_event,
    get_current_event,
    get_event,
    stop_event,
    update_event,
)
from gridgate_client.api.statistics import get_network_stats  # type: ignore[import-not-found]
from gridgate_client.api.vens import (  # type: ignore[import-not-found]
    get_circuit_history,
    get_ven,
    get_ven_history,
    list_ven_events,
    list_ven_summaries,
    list_vens,
)
from gridgate_client.models import EventCreate, EventUpdate  # type: ignore[import-not-found]

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
start = datetime.now(UTC) + timedelta(hours=2)
wish = EventCreate(
    id="python",
    start_time=start.isoformat(),
    end_time=(start + timedelta(minutes=1)).isoformat(),
    requested_reduction_kw=1.5,
)
made = create_event.sync(client=client, body=wish)
sent_back = update_event.sync(made.id, client=client, body=EventUpdate.from_dict(made.to_dict()))
event = get_event.sync(made.id, client=client)
vens = list_vens.sync(client=client)
print(
    json.dumps(
        {
            "venCount": get_network_stats.sync(client=client).ven_count,
            "numbers": [
                [
                    ven.location.lat,
                    ven.location.lon,
                    ven.metrics.current_power_kw,
                    ven.metrics.shed_availability_kw,
                ]
                for ven in vens
            ],
            "words": [[load.id, load.name, load.type_] for ven in vens for load in ven.loads],
            "responseTimes": [each.response_time for each in list_ven_summaries.sync(client=client)],
            "points": len(get_ven_history.sync("house", client=client, granularity="1m").points),
            "circuits": get_circuit_history.sync("house", client=client).total_count,
            "curtailed": [
                list(circuit.to_dict())
                for each in list_ven_events.sync("house", client=client)
                for circuit in each.circuits_curtailed
            ],
            "notes": [[note.reason.value, note.vens] for note in made.notes],
            "isSame": sent_back.to_dict() == made.to_dict(),
            "progress": event.current_reduction_kw + event.actual_reduction_kw,
            "stopping": stop_event.sync(made.id, client=client).status,
            "current": (current := get_current_event.sync(client=client)) and current.id,
            "problem": get_ven.sync("nobody", client=client).status,
        }
    )
)
