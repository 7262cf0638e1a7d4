"""Running the service: request context, metrics, health, logs, documentation pages."""
