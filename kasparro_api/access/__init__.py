"""Who may ask, how often, and what need not be asked of the database again."""
