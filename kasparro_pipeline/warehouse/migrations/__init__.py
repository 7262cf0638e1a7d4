"""Alembic's folder: its entry and the revisions."""
