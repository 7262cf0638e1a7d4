"""Making a source from a sample: asks an upstream once, infers, and writes a commented `defs.yaml`."""
