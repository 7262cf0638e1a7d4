"""Reading records: parameters, the composer of statements, cursors, formats."""
