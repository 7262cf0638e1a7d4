"""Contracts: mapping, validation and drift. Pure functions of records; knows no network and no database."""
