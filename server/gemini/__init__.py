"""The Gemini dialect: generateContent, streamGenerateContent, countTokens and the model list."""

from server.gemini.routes import create_router

__all__ = ["create_router"]
