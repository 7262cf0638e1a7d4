"""Tables, migrations, COPY writers, merge, checkpoints and run ledger. Knows no upstream, no Dagster."""
