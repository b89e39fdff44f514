"""Answers HTTP: the webhook and the REST API."""
