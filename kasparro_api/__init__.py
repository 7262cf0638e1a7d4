"""The read API over the unified table. Imports the warehouse at most; never Dagster."""
