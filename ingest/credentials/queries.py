"""The outbox of credentials: SQL."""

from schemas.db.channels import CREDENTIALS
from schemas.db.locks import CREDENTIALS as LOCK

_PENDING = "applied_revision < revision"

TRY_LOCK = f"SELECT pg_try_advisory_lock(hashtext('{LOCK}'))"
"""Session-level advisory lock: one dispatcher at a time, as passwords must be applied in order."""

TAKE = (
    "SELECT ven_id, revision, enabled, sealed_password, attempts FROM ven_credentials"
    f" WHERE {_PENDING} AND next_attempt_at <= %(now)s ORDER BY enabled, next_attempt_at LIMIT %(most)s"
)
"""The columns of `CredentialChange`, in order; revocations come first."""

SETTLE = (
    "WITH outcome AS (SELECT * FROM unnest(%(ven_id)s::text[], %(revision)s::int[], %(error)s::text[],"
    " %(next_attempt_at)s::timestamptz[]) AS outcome (ven_id, revision, error, next_attempt_at)),"
    " same AS MATERIALIZED (SELECT outcome.* FROM ven_credentials JOIN outcome USING (ven_id, revision)"
    " ORDER BY ven_id FOR UPDATE OF ven_credentials)"
    " UPDATE ven_credentials SET error = same.error, next_attempt_at = same.next_attempt_at,"
    " attempts = CASE WHEN same.error IS NULL THEN 0 ELSE attempts + 1 END,"
    " applied_revision = CASE WHEN same.error IS NULL THEN same.revision ELSE applied_revision END,"
    " applied_at = CASE WHEN same.error IS NULL THEN %(now)s ELSE applied_at END,"
    " sealed_password = CASE WHEN same.error IS NULL THEN NULL ELSE sealed_password END"
    " FROM same WHERE ven_credentials.ven_id = same.ven_id"
)
"""A credential that has changed meanwhile has another revision, and stays pending as it is."""

NOTE_TROUBLE = (
    f"UPDATE ven_credentials SET error = %(error)s WHERE {_PENDING} AND next_attempt_at <= %(now)s"
    " AND error IS DISTINCT FROM %(error)s"
)
NOTIFY_CREDENTIALS = f"NOTIFY {CREDENTIALS}"
