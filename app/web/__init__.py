"""What the browser gets: the page, its style and script, the API document."""
