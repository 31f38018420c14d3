"""Spending: accounts, the journal, permits, projects and scopes."""
