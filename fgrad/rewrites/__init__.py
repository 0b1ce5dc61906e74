"""Rewrites keep what a program means and make it cheaper."""
