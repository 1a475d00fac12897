"""Reads a bundle's config.json, and says everything that is wrong with one (config.md)."""
