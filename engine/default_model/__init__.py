"""The small chat model the server starts with when no other model is named."""
