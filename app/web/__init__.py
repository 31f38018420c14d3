"""The files that a browser gets: page, style, scripts, and the API document."""
