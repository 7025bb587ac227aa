"""Renderers: results in, text out. They decide nothing."""
