"""What a caller may cost: accounts, the journal, permits, projects and scopes."""
