"""fal: a queue of requests, which are jobs."""
