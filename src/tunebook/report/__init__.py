"""From many runs to a table: mean and spread over seeds, and differences seed by seed."""
