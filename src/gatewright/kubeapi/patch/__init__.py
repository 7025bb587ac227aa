"""Patches of every kind an API server takes, as functions from trees to trees."""
