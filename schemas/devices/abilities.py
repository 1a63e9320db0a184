"""Abilities: the optional parts of an `event` command that VENs support."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Select, Text, any_, cast, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from schemas.tables.registry import ven_abilities

DIRECTION, INTERVALS = "direction", "intervals"
IMPORT_LIMIT, EXPORT_LIMIT = "importLimitKw", "exportLimitKw"
"""The words of `understands`, by the keys of the command that they stand for."""


def vens_that_understand(word: str) -> Select[str]:
    return select(ven_abilities.c.ven_id).where(cast(ven_abilities.c.understands, JSONB).has_key(word))


def abilities(ven_ids: Sequence[str]) -> Select[str, list[str]]:
    """Select `ven_id` and `understands` of the given VENs that have reported it."""
    ids = any_(literal(list(ven_ids), ARRAY(Text)))
    return select(ven_abilities.c.ven_id, ven_abilities.c.understands).where(ven_abilities.c.ven_id == ids)
