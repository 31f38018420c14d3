"""HTTP in, HTTP out: what a request says, and what an answer looks like."""
