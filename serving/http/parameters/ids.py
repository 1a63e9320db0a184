"""Ids in paths."""

import re

from serving.http.parameters.rules import ID, Parameter, bad_parameter
from serving.http.paths import decoded_id


def _identifier(name: str, description: str, *examples: str) -> Parameter:
    """An id in a path."""
    return Parameter(
        name=name,
        description=description,
        advice="must not have control characters",
        pattern=ID,
        examples=examples,
        where="path",
    )


VEN_ID = _identifier("venId", "The VEN.", "ven-0001")
LOAD_ID = _identifier("loadId", "The load, unique within its VEN.", "hvac1")
COMMAND_ID = _identifier("commandId", "The command, by its correlation id.")
OPT_OUT_ID = _identifier("optOutId", "The opt-out.")
GROUP_ID = _identifier("groupId", "The group.", "north")
ALARM_ID = _identifier("alarmId", "The alarm.", "42")
WEBHOOK_ID = _identifier("webhookId", "The webhook.")
DIGEST = Parameter(name="digest", description="Digest of the files.", pattern="[0-9a-f]{16}", where="path")
ASSET = Parameter(name="asset", description="The file's name.", where="path")
EVENT_ID = _identifier("eventId", "The event.", "evt-1")
PATH = {
    "digest": DIGEST,
    "asset": ASSET,
    "ven_id": VEN_ID,
    "load_id": LOAD_ID,
    "command_id": COMMAND_ID,
    "opt_out_id": OPT_OUT_ID,
    "group_id": GROUP_ID,
    "alarm_id": ALARM_ID,
    "webhook_id": WEBHOOK_ID,
    "event_id": EVENT_ID,
}
"""The parameters of paths, by their names in `serving/routes.py`."""


def identifier(name: str, value: str) -> str:
    """Return an id of a path, without characters that PostgreSQL refuses."""
    value = decoded_id(value)
    if not re.fullmatch(ID, value):
        raise bad_parameter(name, "must not have control characters")
    return value
