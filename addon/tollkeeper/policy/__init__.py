"""The policy document, its windows and budgets, and what it decides. Pure."""
