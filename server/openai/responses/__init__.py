"""`/v1/responses`: answers made of items, kept so that later requests can go on from them."""
