"""VENs that use OpenADR and not MQTT: they get no commands, and poll their events."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Select, Text, any_, literal, select

from schemas.tables.openadr import openadr_vens


def vens_by_openadr(ven_ids: Sequence[str] | None = None) -> Select[str]:
    """Select VENs, all or of the given ones, registered by an enrolment; those registered before use MQTT."""
    query = select(openadr_vens.c.ven_id).where(openadr_vens.c.is_registered_here)
    if ven_ids is None:
        return query
    return query.where(openadr_vens.c.ven_id == any_(literal(list(ven_ids), ARRAY(Text))))
