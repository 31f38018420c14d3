"""Listening, answering and going: all that touches aiohttp's private parts."""
