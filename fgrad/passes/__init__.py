"""Transformations: what a program means is changed here. None of them names a primitive that holds a rule."""
