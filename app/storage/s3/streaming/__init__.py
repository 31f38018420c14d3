"""Objects on their way from S3 to their readers."""
