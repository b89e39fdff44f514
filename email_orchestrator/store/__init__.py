"""Remembers: the only room that knows SQL and psycopg2."""
