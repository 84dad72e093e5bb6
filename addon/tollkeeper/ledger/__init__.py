"""The append-only store: hold, settle, void, expire. The only room that speaks SQL."""
