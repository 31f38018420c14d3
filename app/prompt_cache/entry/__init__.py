"""What a prompt is, and what it became."""
