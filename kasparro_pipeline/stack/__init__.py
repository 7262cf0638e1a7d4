"""The local stack: embedded PostgreSQL, sandbox upstream, processes, and the CLI. Nothing else imports it."""
