"""Notifications of changed objects of OpenADR, queued by serving and jobs in the transaction of a change."""
