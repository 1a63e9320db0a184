"""Webhooks of OpenADR's subscriptions; whether a subscriber may read all.

Revision: 0034, after 0033
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

READS_ALL = """
UPDATE openadr_subscriptions AS s SET reads_all = 'read_all' = ANY (c.scopes)
FROM openadr_clients c WHERE c.client_id = s.client_id
"""
WEBHOOKS = """
INSERT INTO webhooks (webhook_id, subscription_id, url, bearer_token, secret, enabled, created_at)
SELECT 'openadr-' || s.object_id || '-' || (part.number - 1), s.object_id, part.value->>'callbackUrl',
    part.value->>'bearerToken',
    'whsec_' || encode(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'), 'base64'),
    true, now()
FROM openadr_subscriptions s,
    json_array_elements(s.body->'objectOperations') WITH ORDINALITY AS part (value, number)
"""


def upgrade() -> None:
    """Subscriptions that are stored are notified from now on.

    Clients of another issuer are taken for VENs until they subscribe anew.
    """
    is_false = sa.text("false")
    op.add_column(
        "openadr_subscriptions", sa.Column("reads_all", sa.Boolean(), server_default=is_false, nullable=False)
    )
    op.add_column("webhooks", sa.Column("subscription_id", sa.Text(collation="C"), nullable=True))
    op.add_column("webhooks", sa.Column("bearer_token", sa.Text(), nullable=True))
    op.create_index("ix_webhooks_subscription_id", "webhooks", ["subscription_id"])
    op.execute(READS_ALL)
    op.execute(WEBHOOKS)


def downgrade() -> None:
    """Subscriptions stay, and are notified no more."""
    op.execute("DELETE FROM webhook_deliveries WHERE webhook_id LIKE 'openadr-%'")
    op.execute("DELETE FROM webhooks WHERE subscription_id IS NOT NULL")
    op.drop_index("ix_webhooks_subscription_id", table_name="webhooks")
    op.drop_column("webhooks", "bearer_token")
    op.drop_column("webhooks", "subscription_id")
    op.drop_column("openadr_subscriptions", "reads_all")
