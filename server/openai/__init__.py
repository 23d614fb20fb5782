"""The OpenAI dialect: completions, chat completions, models."""
