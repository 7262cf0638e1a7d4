"""Extraction: upstream → documents → raw records and the next cursor. Knows no database and no Dagster."""
