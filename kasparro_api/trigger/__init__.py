"""Asking Dagster for runs, and taking files in. Knows Dagster by its GraphQL alone."""
