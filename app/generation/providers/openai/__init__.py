"""OpenAI images, and every server that speaks its dialect."""
