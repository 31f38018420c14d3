"""What HTTP itself says, for any resource: queries, bodies, conditions, problems."""
