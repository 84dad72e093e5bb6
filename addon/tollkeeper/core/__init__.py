"""The vocabulary every stage speaks: frozen values, money, time, errors. Imports nothing of ours."""
