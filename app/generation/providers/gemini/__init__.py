"""Google Gemini: models that answer `generateContent` with a picture."""
