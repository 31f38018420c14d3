"""HTTP for any resource: queries, bodies, conditions, problems."""
