"""Kasparro's pipeline: upstream documents in, one typed and de-duplicated PostgreSQL table out."""
