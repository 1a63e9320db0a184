"""Which VENs speak OpenADR and no MQTT: no command reaches them; they read their events by polling."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Select, Text, any_, literal, select

from schemas.tables.openadr import openadr_vens


def vens_by_openadr(ven_ids: Sequence[str] | None = None) -> Select[str]:
    """VENs, or those of some, that their enrolment has registered; one that was there before speaks MQTT."""
    query = select(openadr_vens.c.ven_id).where(openadr_vens.c.is_registered_here)
    if ven_ids is None:
        return query
    return query.where(openadr_vens.c.ven_id == any_(literal(list(ven_ids), ARRAY(Text))))
