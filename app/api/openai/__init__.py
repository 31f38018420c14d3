"""The front in OpenAI's words: the same prompt cache, for clients of that API."""
