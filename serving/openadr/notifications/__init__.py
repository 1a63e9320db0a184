"""Changes of objects, for the webhooks of subscriptions and for MQTT."""
